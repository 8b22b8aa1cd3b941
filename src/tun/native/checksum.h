// Internet checksum (RFC 1071) in the machine's byte order: sums are stored with memcpy, so the order cancels out.
#ifndef MPTUNNEL_CHECKSUM_H
#define MPTUNNEL_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

// Adds `length` bytes; only the last piece of a sum may be odd.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length);
// memcpy and checksum_add in one.
uint64_t checksum_copy(uint64_t sum, uint8_t *to, const uint8_t *from, size_t length);
// Folded, not complemented.
uint16_t checksum_fold(uint64_t sum);

#endif

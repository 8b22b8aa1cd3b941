#include "checksum.h"

#include <stdbool.h>
#include <string.h>

// Sum of 32-bit words in a 64-bit counter: no carries to handle below 16 GB, and the compiler vectorises it.
#define SUM_WORDS                         \
  uint64_t sum = 0;                       \
  for (size_t i = 0; i < count; i++) {    \
    uint32_t word;                        \
    memcpy(&word, bytes + 4 * i, 4);      \
    sum += word;                          \
  }                                       \
  return sum;

static uint64_t sum_words(const uint8_t *bytes, size_t count) { SUM_WORDS }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_words_avx2(const uint8_t *bytes, size_t count) { SUM_WORDS }

static uint64_t sum_words_best(const uint8_t *bytes, size_t count) {
  return __builtin_cpu_supports("avx2") ? sum_words_avx2(bytes, count) : sum_words(bytes, count);
}
#else
#define sum_words_best sum_words
#endif

static uint64_t add_fast(uint64_t sum, const uint8_t *bytes, size_t length, uint64_t (*words)(const uint8_t *, size_t)) {
  size_t count = length / 4;
  sum += words(bytes, count);
  const uint8_t *rest = bytes + count * 4;
  size_t left = length & 3;
  if (left == 0) return sum;
  uint32_t word = 0;
  memcpy(&word, rest, left);
  return sum + word;
}

uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length) {
  return add_fast(sum, bytes, length, length < 128 ? sum_words : sum_words_best);
}

uint64_t checksum_copy(uint64_t sum, uint8_t *to, const uint8_t *from, size_t length) {
  memcpy(to, from, length);
  return checksum_add(sum, to, length);
}

uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

// Bases of compressed headers, at both ends of one path of one epoch. docs/header-compression.md tells how they are agreed upon.
#ifndef MPTUNNEL_CONTEXTS_H
#define MPTUNNEL_CONTEXTS_H

#include "compress.h"

// A base as it travels: serial 4, id 2, header.
#define BASE_PREFIX_BYTES 6
#define BASE_MAX_BYTES (BASE_PREFIX_BYTES + MAX_HEADER_BYTES)

typedef struct Compressor Compressor;

Compressor *compressor_create(void);
void compressor_free(Compressor *compressor);
// How the segments of a super-segment are to be compressed. `packetNumber`: what has been sent so far, for ageing. False: with their whole headers. At
// first this is so for every flow, until the peer has confirmed its base.
bool compressor_encode(Compressor *compressor, uint64_t packetNumber, const uint8_t *header, size_t headerBytes, size_t payloadBytes,
                       size_t segmentBytes, Encoded *out);
// Another segment size for what compressor_encode just encoded. False: it does not go.
bool compressor_encode_again(Compressor *compressor, size_t payloadBytes, size_t segmentBytes, Encoded *out);
// Bases that the peer has not confirmed.
size_t compressor_pending(const Compressor *compressor);
// Writes the next of them that was not sent within its time; bytes written, or 0. `out` has room for BASE_MAX_BYTES. `repeatMs` doubles with every repetition.
size_t compressor_next_base(Compressor *compressor, double nowMs, double repeatMs, uint8_t *out);
// The peer has this base. False: it is none that waits.
bool compressor_confirm(Compressor *compressor, uint16_t id, uint32_t serial);
// The peer does not have this base: whole headers until it has another.
void compressor_lose(Compressor *compressor, uint16_t id);

typedef struct {
  Header header;
  uint32_t serial;
  // Of the datagram that brought it: older segments that name the id mean another base.
  uint64_t packetNumber;
} ReceiverBase;

typedef struct {
  ReceiverBase *bases[CONTEXT_IDS];
} Decompressor;

typedef enum { BASE_STORED, BASE_STALE, BASE_MALFORMED } BaseResult;

Decompressor *decompressor_create(void);
void decompressor_free(Decompressor *decompressor);
BaseResult decompressor_install(Decompressor *decompressor, uint64_t packetNumber, const uint8_t *bytes, size_t length);
// The base that segment `packetNumber` means by `id`, or NULL.
static inline const ReceiverBase *decompressor_find(const Decompressor *decompressor, int id, uint64_t packetNumber) {
  if (decompressor == NULL || id < 0) return NULL;
  const ReceiverBase *base = decompressor->bases[id];
  return base != NULL && base->packetNumber < packetNumber ? base : NULL;
}

#endif

// What sealing is made of, shared by seal.c and seal-compressed.c.
#ifndef MPTUNNEL_SENDER_H
#define MPTUNNEL_SENDER_H

#include "contexts.h"
#include "packet.h"
#include "seal.h"
#include "udp.h"

typedef struct {
  Handle handle;
  AeadContext *aead;
  uint32_t receiverIndex;
  // Bit per path that has, or had, its sender: a second one would repeat nonces.
  uint32_t paths;
} Sealer;

typedef struct {
  Handle handle;
  Udp *udp;
  Sealer *sealer;
  Target target;
  uint64_t packetNumber;
  uint8_t pathId;
  // Largest datagram of the path when headers are compressed on it, else 0.
  size_t maxDatagramBytes;
  // The peer has seen a packet number that is not below this less one.
  uint64_t ackedNumbers;
  // Made with the first segment.
  Compressor *compressor;
  // What the last sealSegments did.
  struct {
    size_t segmentBytes, overheadBytes;
    bool compressed;
  } cut;
} Sender;

typedef struct {
  Sender *sender;
  const uint8_t *header;
  const uint8_t *payload;
  size_t payloadBytes;
  size_t segmentBytes;
  PacketShape shape;
  uint8_t type;
  // IPv4 identification of the first segment, and what each further one adds.
  uint16_t id;
  uint16_t idStep;
} Cut;

static inline size_t cut_count(const Cut *cut) {
  return cut->payloadBytes <= cut->segmentBytes ? 1 : (cut->payloadBytes + cut->segmentBytes - 1) / cut->segmentBytes;
}

// A sender whose key is alive, or NULL with an exception pending.
Sender *sender_get(napi_env env, napi_value value);

// Seals the `plainBytes` that lie behind a header in the staging area under the sender's next packet number, which the header names, and stages the datagram.
void sender_seal(Sender *sender, uint8_t *datagram, size_t headerBytes, size_t plainBytes);

// Seals the segments of `cut` with compressed headers. False: they go with their whole headers, and cut->segmentBytes is such that these fit.
bool seal_compressed(Cut *cut);

#endif

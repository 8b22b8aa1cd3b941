// Compression of the inner headers of stream segments (IP, TCP, timestamps, DSS), lossless, in the manner of RFC 6846. docs/header-compression.md tells the
// whole; this file holds the encoding.
//
// A *base* is a header that both sides have: the sender gave it an id, the receiver has confirmed it. A compressed segment names a base and tells its fields as
// differences to it, never to another segment: each can be read alone, in whatever order. What differs in anything but the fields below is another flow with a
// base of its own, or goes with its whole header.
//
// In front of the payload, big-endian, either the compact form
//
//      0 1 2 3 4 5 6 7
//     +-+-+-+-+-+-+-+-+------------------+-----------------+------------------+-------------+--------------+
//     |0|A|D|T|P| id  | sequence 3       | [acknowledg. 2] | TSval 1, TSecr 1 | map 1       | [DSN 3]      |
//     +-+-+-+-+-+-+-+-+------------------+-----------------+------------------+-------------+--------------+
//
//   for ids below 8 and headers whose window and flags (but for PSH, which is P) are those of the base. A: the acknowledgment number follows, and the DATA_ACK has
//   moved as far; without it both are those of the base. D: the DSN follows; without it the DSN has moved as far as the subflow sequence number has. Timestamps
//   and map only where the base has them. T: the timestamps take 2 bytes each; if the base has none, the map is that of form 2 below.
//   map: the segment's place in its mapping, index << 4 | (count - 1): the mapping covers `count` times this segment's payload, and begins `index` times
//   before it.
//
// or the general form: 3 bytes
//
//     | 1 | id 9 | seq | ack | wide | psh | window | tsVal | tsEcr | dataAck 2 | dsn 2 | map 2 | flags |
//
//   and then, where its bits say so and the base has the field:
//     flags 1      FIN, CWR and the rest as they are (PSH too); without it those of the base
//     seq 3        absent: as in the base. 4 when wide.
//     ack 3        likewise
//     window 2     as it is
//     TSval 1      2 when tsVal is set, 4 when it is set and wide
//     TSecr 1      likewise
//     DATA_ACK     0: moved as far as the acknowledgment number has; 1: as in the base; 2: 3 bytes; 3: 4 bytes
//     map          0: the mapping is this segment's payload; 1: the byte above; 2: index 1, length 2 (index 255: the segment ends the mapping);
//                  3: bytes of the mapping before this segment 2, length 2
//     DSN          0: moved as far as the subflow sequence number has; 1: 3 bytes; 2: 4 bytes
//
// A difference of n bytes is sent with a bias, so that a part of its range lies behind the base: a quarter, of timestamps and 2 bytes a sixteenth. Those of 4 bytes are modulo 2^32
// (DATA_ACK, DSN: signed). The subflow sequence number is not sent: it has moved as far as the sequence number has, less the place in the mapping.
// IP length, IPv4 identification (0) and both checksums are not sent either: they follow from the rest.
#ifndef MPTUNNEL_COMPRESS_H
#define MPTUNNEL_COMPRESS_H

#include "inner-header.h"

#define CONTEXT_IDS 512
#define COMPACT_IDS 8
// Prefix 3, flags 1, seq 4, ack 4, window 2, timestamps 8, DATA_ACK 4, map 4, DSN 4.
#define COMPRESSED_MAX_BYTES 34

// The compressed header of a super-segment's first segment, and what differs in the others.
typedef struct {
  uint8_t bytes[COMPRESSED_MAX_BYTES];
  uint8_t length;
  // How many bytes less it would be with a base of today.
  uint8_t staleBytes;
  uint8_t flagsAt, seqAt, seqBytes, mapAt, mapCode;
  bool compact;
  uint8_t flags;
  // Sequence difference and place in the mapping of the first segment.
  uint32_t seq, place;
  uint32_t payloadBytes, segmentBytes;
} Encoded;

// False: some difference is larger than any field for it.
bool compress_encode(const Header *base, uint16_t id, const HeaderFields *fields, size_t payloadBytes, size_t segmentBytes, Encoded *out);
// Turns it into the header of the segment with payload bytes [at, at + bytes).
void compress_patch(Encoded *encoded, size_t at, size_t bytes);

// The id that a compressed segment of `length` bytes names, or -1.
int compress_id(const uint8_t *bytes, size_t length);
// Reads the fields of a segment that takes `length` bytes with its payload. Bytes read, or 0: it is malformed.
size_t compress_decode(const Header *base, const uint8_t *bytes, size_t length, HeaderFields *out);

#endif

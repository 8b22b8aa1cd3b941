// The headers of a stream segment taken apart: what differs between the segments of one flow, and the rest.
#ifndef MPTUNNEL_INNER_HEADER_H
#define MPTUNNEL_INNER_HEADER_H

#include "packet.h"

#define MASKED_BYTES MAX_HEADER_BYTES

// Where the fields are in a header, 0: it has none.
typedef struct {
  uint8_t headerBytes;
  uint8_t transport;
  uint8_t version;
  // TSval, TSecr behind it.
  uint8_t timestamps;
  uint8_t dataAck, dataAckBytes;
  // DSN, then subflow sequence number 4 and data-level length 2.
  uint8_t dsn, dsnBytes;
} HeaderLayout;

typedef struct {
  uint64_t dataAck, dsn;
  uint32_t seq, ack, tsVal, tsEcr, ssn;
  uint16_t window, dataLength;
  uint8_t flags;
} HeaderFields;

// A header in three parts; the fields are zero in `masked`, and so is what follows the header.
typedef struct {
  uint8_t masked[MASKED_BYTES];
  HeaderLayout layout;
  HeaderFields fields;
} Header;

// False: a header that is not compressed (not TCP, SYN or RST, an option other than timestamps and a DSS without checksum).
bool header_parse(const uint8_t *bytes, size_t headerBytes, Header *out);
// Writes the header of a packet of `packetBytes`, all but the TCP checksum, which is zero.
void header_write(const Header *header, const HeaderFields *fields, size_t packetBytes, uint8_t *out);

#endif

#include "inner-header.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_TIMESTAMPS = 8, OPTION_MPTCP = 30, TIMESTAMPS_BYTES = 10, SUBTYPE_DSS = 2 };
enum { DSS_ACK = 0x01, DSS_ACK_8 = 0x02, DSS_MAP = 0x04, DSS_DSN_8 = 0x08 };

static uint64_t load_wide(const uint8_t *at, size_t bytes) { return bytes == 8 ? (uint64_t)load32(at) << 32 | load32(at + 4) : load32(at); }

static void store_wide(uint8_t *at, size_t bytes, uint64_t value) {
  if (bytes == 8) store32(at, (uint32_t)(value >> 32));
  store32(at + bytes - 4, (uint32_t)value);
}

static bool parse_dss(const uint8_t *option, uint8_t at, size_t length, HeaderLayout *layout) {
  if (length < 4 || option[2] >> 4 != SUBTYPE_DSS || layout->dataAck != 0 || layout->dsn != 0) return false;
  uint8_t flags = option[3];
  uint8_t ackBytes = !(flags & DSS_ACK) ? 0 : flags & DSS_ACK_8 ? 8 : 4;
  uint8_t dsnBytes = !(flags & DSS_MAP) ? 0 : flags & DSS_DSN_8 ? 8 : 4;
  if (length != 4u + ackBytes + (dsnBytes > 0 ? dsnBytes + 6u : 0u)) return false;
  layout->dataAckBytes = ackBytes;
  layout->dsnBytes = dsnBytes;
  if (ackBytes > 0) layout->dataAck = (uint8_t)(at + 4);
  if (dsnBytes > 0) layout->dsn = (uint8_t)(at + 4 + ackBytes);
  return true;
}

static bool parse_options(const uint8_t *bytes, HeaderLayout *layout) {
  for (size_t at = layout->transport + TCP_HEADER_BYTES; at < layout->headerBytes && bytes[at] != OPTION_END;) {
    if (bytes[at] == OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 2 > layout->headerBytes) return false;
    size_t length = bytes[at + 1];
    if (length < 2 || at + length > layout->headerBytes) return false;
    if (bytes[at] == OPTION_TIMESTAMPS && length == TIMESTAMPS_BYTES && layout->timestamps == 0) layout->timestamps = (uint8_t)(at + 2);
    else if (bytes[at] != OPTION_MPTCP || !parse_dss(bytes + at, (uint8_t)at, length, layout)) return false;
    at += length;
  }
  return true;
}

static void read_fields(const uint8_t *bytes, const HeaderLayout *layout, HeaderFields *out) {
  const uint8_t *tcp = bytes + layout->transport;
  memset(out, 0, sizeof *out);
  out->seq = load32(tcp + TCP_SEQUENCE);
  out->ack = load32(tcp + TCP_SEQUENCE + 4);
  out->flags = tcp[TCP_FLAGS];
  out->window = load16(tcp + TCP_WINDOW);
  if (layout->timestamps > 0) {
    out->tsVal = load32(bytes + layout->timestamps);
    out->tsEcr = load32(bytes + layout->timestamps + 4);
  }
  if (layout->dataAck > 0) out->dataAck = load_wide(bytes + layout->dataAck, layout->dataAckBytes);
  if (layout->dsn == 0) return;
  out->dsn = load_wide(bytes + layout->dsn, layout->dsnBytes);
  out->ssn = load32(bytes + layout->dsn + layout->dsnBytes);
  out->dataLength = load16(bytes + layout->dsn + layout->dsnBytes + 4);
}

static void write_fields(const HeaderLayout *layout, const HeaderFields *fields, uint8_t *bytes) {
  uint8_t *tcp = bytes + layout->transport;
  store32(tcp + TCP_SEQUENCE, fields->seq);
  store32(tcp + TCP_SEQUENCE + 4, fields->ack);
  tcp[TCP_FLAGS] = fields->flags;
  store16(tcp + TCP_WINDOW, fields->window);
  store16(tcp + TCP_CHECKSUM, 0);
  if (layout->timestamps > 0) {
    store32(bytes + layout->timestamps, fields->tsVal);
    store32(bytes + layout->timestamps + 4, fields->tsEcr);
  }
  if (layout->dataAck > 0) store_wide(bytes + layout->dataAck, layout->dataAckBytes, fields->dataAck);
  if (layout->dsn == 0) return;
  store_wide(bytes + layout->dsn, layout->dsnBytes, fields->dsn);
  store32(bytes + layout->dsn + layout->dsnBytes, fields->ssn);
  store16(bytes + layout->dsn + layout->dsnBytes + 4, fields->dataLength);
}

bool header_parse(const uint8_t *bytes, size_t headerBytes, Header *out) {
  PacketShape shape;
  if (headerBytes > MASKED_BYTES || packet_shape(bytes, headerBytes, 0, PROTOCOL_TCP, &shape) != NULL || shape.headerBytes != headerBytes) return false;
  if (bytes[shape.transport + TCP_FLAGS] & (TCP_SYN | TCP_RST)) return false;
  HeaderLayout *layout = &out->layout;
  *layout = (HeaderLayout){.headerBytes = (uint8_t)headerBytes, .transport = (uint8_t)shape.transport, .version = shape.version};
  if (!parse_options(bytes, layout)) return false;
  read_fields(bytes, layout, &out->fields);
  static const HeaderFields ZERO;
  memcpy(out->masked, bytes, headerBytes);
  memset(out->masked + headerBytes, 0, MASKED_BYTES - headerBytes);
  write_fields(layout, &ZERO, out->masked);
  if (shape.version == 4) {
    // Length and identification, checksum.
    store32(out->masked + 2, 0);
    store16(out->masked + 10, 0);
  } else {
    store16(out->masked + 4, 0);
  }
  return true;
}

void header_write(const Header *header, const HeaderFields *fields, size_t packetBytes, uint8_t *out) {
  const HeaderLayout *layout = &header->layout;
  PacketShape shape = {layout->version, PROTOCOL_TCP, layout->transport, layout->headerBytes};
  memcpy(out, header->masked, layout->headerBytes);
  write_fields(layout, fields, out);
  packet_finish_ip(out, &shape, packetBytes);
}

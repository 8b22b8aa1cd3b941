#include "compress.h"

// General form, bits of its 24.
enum {
  BIT_FLAGS = 0x000001, SHIFT_MAP = 1, SHIFT_DSN = 3, SHIFT_DATA_ACK = 5, BIT_TS_ECR = 0x000080, BIT_TS_VAL = 0x000100, BIT_WINDOW = 0x000200,
  BIT_PSH = 0x000400, BIT_WIDE = 0x000800, BIT_ACK = 0x001000, BIT_SEQ = 0x002000, SHIFT_ID = 14, BIT_GENERAL = 0x800000
};
enum { COMPACT_ACK = 0x40, COMPACT_DSN = 0x20, COMPACT_TIMES = 0x10, COMPACT_PSH = 0x08 };
enum { MAP_WHOLE, MAP_BYTE, MAP_INDEX, MAP_PLACE };
enum { DATA_ACK_AS_ACK, DATA_ACK_SAME, DATA_ACK_3, DATA_ACK_4 };
enum { DSN_AS_SSN, DSN_3, DSN_4 };
static const uint8_t MAP_BYTES[4] = {0, 1, 3, 4};
#define INDEX_LAST 255
// Shares of a range that lie behind the base, as shifts.
#define QUARTER 2
#define SIXTEENTH 4

// ---- differences ----

static int64_t bias(unsigned bytes, unsigned shift) { return INT64_C(1) << (8 * bytes - shift); }

static bool fits(int64_t difference, unsigned bytes, unsigned shift) {
  int64_t value = difference + bias(bytes, shift);
  return value >= 0 && value < INT64_C(1) << (8 * bytes);
}

static uint8_t *put(uint8_t *at, uint32_t value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0; value >>= 8) at[i] = (uint8_t)value;
  return at + bytes;
}

// 4 bytes carry any difference modulo 2^32, without a bias.
static uint8_t *put_difference(uint8_t *at, int64_t difference, unsigned bytes, unsigned shift) {
  return put(at, (uint32_t)(bytes == 4 ? difference : difference + bias(bytes, shift)), bytes);
}

typedef struct {
  int64_t seq, seqEnd, ack, tsVal, tsEcr, dataAck, ssn, dsn;
  // Of the first segment, modulo 2^32.
  uint32_t place;
} Differences;

static int64_t difference32(uint32_t value, uint32_t base) { return (int32_t)(value - base); }

// Fields of 4 bytes move modulo 2^32, those of 8 modulo 2^64.
static int64_t difference_wide(uint64_t value, uint64_t base, size_t bytes) {
  return bytes == 8 ? (int64_t)(value - base) : difference32((uint32_t)value, (uint32_t)base);
}

static void differ(const Header *base, const HeaderFields *fields, size_t payloadBytes, Differences *out) {
  const HeaderFields *from = &base->fields;
  out->seq = difference32(fields->seq, from->seq);
  out->seqEnd = out->seq + (int64_t)payloadBytes;
  out->ack = difference32(fields->ack, from->ack);
  out->tsVal = difference32(fields->tsVal, from->tsVal);
  out->tsEcr = difference32(fields->tsEcr, from->tsEcr);
  out->dataAck = difference_wide(fields->dataAck, from->dataAck, base->layout.dataAckBytes);
  out->ssn = difference32(fields->ssn, from->ssn);
  out->dsn = difference_wide(fields->dsn, from->dsn, base->layout.dsnBytes);
  out->place = (fields->seq - from->seq) - (fields->ssn - from->ssn);
}

// Which form of map serves all segments, or -1.
static int map_code(const HeaderFields *fields, uint32_t place, size_t payloadBytes, size_t segmentBytes) {
  size_t length = fields->dataLength;
  if (place > 0xffff || place + payloadBytes > 0x10000) return -1;
  if (payloadBytes == 0 || segmentBytes == 0) return MAP_PLACE;
  if (place == 0 && length == payloadBytes && payloadBytes <= segmentBytes) return length <= 0xffff ? MAP_WHOLE : -1;
  size_t step = payloadBytes < segmentBytes ? payloadBytes : segmentBytes;
  if (place % step != 0) return MAP_PLACE;
  size_t first = place / step, whole = payloadBytes / step, tail = payloadBytes % step;
  if (tail == 0 && length % step == 0 && length > 0 && length / step <= 16 && first + whole <= 16) return MAP_BYTE;
  if (tail != 0 && place + payloadBytes != length) return MAP_PLACE;
  return first + whole <= INDEX_LAST ? MAP_INDEX : MAP_PLACE;
}

// ---- encoding ----

static bool encode_compact(const Header *base, uint16_t id, const HeaderFields *fields, const Differences *d, int map, Encoded *out) {
  const HeaderLayout *layout = &base->layout;
  if (id >= COMPACT_IDS || fields->window != base->fields.window || !fits(d->ack, 2, SIXTEENTH)) return false;
  if (layout->dataAck > 0 && d->dataAck != d->ack) return false;
  if ((fields->flags & ~TCP_PSH) != base->fields.flags || !fits(d->seq, 3, QUARTER) || !fits(d->seqEnd, 3, QUARTER)) return false;
  uint8_t first = (uint8_t)id;
  unsigned times = 1;
  if (d->ack != 0) first |= COMPACT_ACK;
  if (layout->timestamps > 0 && !(fits(d->tsVal, 1, SIXTEENTH) && fits(d->tsEcr, 1, SIXTEENTH))) {
    if (!fits(d->tsVal, 2, SIXTEENTH) || !fits(d->tsEcr, 2, SIXTEENTH)) return false;
    times = 2;
    first |= COMPACT_TIMES;
  }
  if (layout->dsn > 0) {
    if (map == MAP_WHOLE) map = MAP_BYTE;
    if (map == MAP_PLACE || (map == MAP_INDEX && layout->timestamps > 0)) return false;
    if (map == MAP_INDEX) first |= COMPACT_TIMES;
    if (d->dsn != d->ssn) {
      if (!fits(d->dsn, 3, QUARTER)) return false;
      first |= COMPACT_DSN;
    }
  }
  uint8_t *at = out->bytes;
  *at++ = first;
  out->seqAt = 1;
  out->seqBytes = 3;
  at += 3;
  if (d->ack != 0) at = put_difference(at, d->ack, 2, SIXTEENTH);
  if (layout->timestamps > 0) at = put_difference(put_difference(at, d->tsVal, times, SIXTEENTH), d->tsEcr, times, SIXTEENTH);
  if (layout->dsn > 0) {
    out->mapAt = (uint8_t)(at - out->bytes);
    out->mapCode = (uint8_t)map;
    at += MAP_BYTES[map];
    if (first & COMPACT_DSN) at = put_difference(at, d->dsn, 3, QUARTER);
  }
  out->compact = true;
  out->length = (uint8_t)(at - out->bytes);
  return true;
}

static bool times_need(const Differences *d, unsigned bytes) { return !fits(d->tsVal, bytes, SIXTEENTH) || !fits(d->tsEcr, bytes, SIXTEENTH); }

static bool is_wide(const HeaderLayout *layout, const Differences *d) {
  if (!fits(d->seq, 3, QUARTER) || !fits(d->seqEnd, 3, QUARTER) || !fits(d->ack, 3, QUARTER)) return true;
  return layout->timestamps > 0 && times_need(d, 2);
}

static bool choose_general(const Header *base, const HeaderFields *fields, const Differences *d, int map, size_t segments, uint32_t *out) {
  const HeaderLayout *layout = &base->layout;
  uint32_t bits = BIT_GENERAL;
  if (is_wide(layout, d)) bits |= BIT_WIDE;
  if (d->seq != 0 || segments > 1) bits |= BIT_SEQ;
  if (d->ack != 0) bits |= BIT_ACK;
  if (fields->window != base->fields.window) bits |= BIT_WINDOW;
  if ((fields->flags & ~TCP_PSH) != base->fields.flags) bits |= BIT_FLAGS;
  if (layout->timestamps > 0) {
    if (!fits(d->tsVal, 1, SIXTEENTH)) bits |= BIT_TS_VAL;
    if (!fits(d->tsEcr, 1, SIXTEENTH)) bits |= BIT_TS_ECR;
  }
  if (layout->dataAck > 0 && d->dataAck != d->ack) {
    if (d->dataAck == 0) bits |= DATA_ACK_SAME << SHIFT_DATA_ACK;
    else if (fits(d->dataAck, 3, QUARTER)) bits |= DATA_ACK_3 << SHIFT_DATA_ACK;
    else if (d->dataAck == (int32_t)d->dataAck) bits |= DATA_ACK_4 << SHIFT_DATA_ACK;
    else return false;
  }
  if (layout->dsn > 0) {
    bits |= (uint32_t)map << SHIFT_MAP;
    if (d->dsn != d->ssn) {
      if (fits(d->dsn, 3, QUARTER)) bits |= DSN_3 << SHIFT_DSN;
      else if (d->dsn == (int32_t)d->dsn) bits |= DSN_4 << SHIFT_DSN;
      else return false;
    }
  }
  *out = bits;
  return true;
}

static unsigned time_bytes(uint32_t bits, uint32_t bit) { return !(bits & bit) ? 1 : bits & BIT_WIDE ? 4 : 2; }

static void encode_general(const HeaderLayout *layout, uint16_t id, const HeaderFields *fields, const Differences *d, uint32_t bits, Encoded *out) {
  uint8_t *at = put(out->bytes, bits | (uint32_t)id << SHIFT_ID, 3);
  unsigned wide = bits & BIT_WIDE ? 4 : 3, dataAck = bits >> SHIFT_DATA_ACK & 3, dsn = bits >> SHIFT_DSN & 3;
  if (bits & BIT_FLAGS) {
    out->flagsAt = (uint8_t)(at - out->bytes);
    at++;
  }
  if (bits & BIT_SEQ) {
    out->seqAt = (uint8_t)(at - out->bytes);
    out->seqBytes = (uint8_t)wide;
    at += wide;
  }
  if (bits & BIT_ACK) at = put_difference(at, d->ack, wide, QUARTER);
  if (bits & BIT_WINDOW) at = put(at, fields->window, 2);
  if (layout->timestamps > 0) {
    at = put_difference(at, d->tsVal, time_bytes(bits, BIT_TS_VAL), SIXTEENTH);
    at = put_difference(at, d->tsEcr, time_bytes(bits, BIT_TS_ECR), SIXTEENTH);
  }
  if (dataAck >= DATA_ACK_3) at = put_difference(at, d->dataAck, dataAck == DATA_ACK_3 ? 3 : 4, QUARTER);
  if (layout->dsn > 0) {
    out->mapAt = (uint8_t)(at - out->bytes);
    out->mapCode = (uint8_t)(bits >> SHIFT_MAP & 3);
    at += MAP_BYTES[out->mapCode];
    if (dsn != DSN_AS_SSN) at = put_difference(at, d->dsn, dsn == DSN_3 ? 3 : 4, QUARTER);
  }
  out->length = (uint8_t)(at - out->bytes);
}

// Bytes of the shortest form for this map, when nothing but sequence numbers differs.
static unsigned fresh_bytes(const HeaderLayout *layout, uint16_t id, int map) {
  unsigned times = layout->timestamps > 0 ? 2 : 0;
  bool compact = id < COMPACT_IDS && map != MAP_PLACE && (map != MAP_INDEX || times == 0);
  if (layout->dsn == 0) return (compact ? 4 : 6) + times;
  return compact ? 4 + times + MAP_BYTES[map == MAP_WHOLE ? MAP_BYTE : map] : 6 + times + MAP_BYTES[map];
}

bool compress_encode(const Header *base, uint16_t id, const HeaderFields *fields, size_t payloadBytes, size_t segmentBytes, Encoded *out) {
  Differences d;
  differ(base, fields, payloadBytes, &d);
  int map = base->layout.dsn > 0 ? map_code(fields, d.place, payloadBytes, segmentBytes) : MAP_WHOLE;
  if (map < 0) return false;
  *out = (Encoded){.flags = fields->flags,
                   .seq = fields->seq - base->fields.seq,
                   .place = d.place,
                   .payloadBytes = (uint32_t)payloadBytes,
                   .segmentBytes = (uint32_t)segmentBytes};
  if (!encode_compact(base, id, fields, &d, map, out)) {
    uint32_t bits;
    size_t segments = payloadBytes > segmentBytes ? 2 : 1;
    if (!choose_general(base, fields, &d, map, segments, &bits)) return false;
    encode_general(&base->layout, id, fields, &d, bits, out);
  }
  unsigned fresh = fresh_bytes(&base->layout, id, map);
  out->staleBytes = (uint8_t)(out->length > fresh ? out->length - fresh : 0);
  if (out->mapAt > 0 && out->mapCode >= MAP_INDEX) put(out->bytes + out->mapAt + MAP_BYTES[out->mapCode] - 2, fields->dataLength, 2);
  // compress_patch counts in lengths of the mapping.
  if (out->mapCode == MAP_BYTE) {
    size_t step = payloadBytes < segmentBytes ? payloadBytes : segmentBytes;
    out->bytes[out->mapAt] = (uint8_t)(fields->dataLength / step - 1);
  }
  return true;
}

static void patch_map(Encoded *encoded, size_t at, size_t bytes) {
  uint8_t *map = encoded->bytes + encoded->mapAt;
  size_t place = encoded->place + at;
  switch (encoded->mapCode) {
    case MAP_BYTE:
      *map = (uint8_t)(place / bytes << 4 | (*map & 15));
      return;
    case MAP_INDEX:
      // Only a shorter segment is not a multiple of its own length behind the beginning; and it ends the mapping.
      *map = (uint8_t)(at > 0 && bytes < encoded->segmentBytes ? INDEX_LAST : place / bytes);
      return;
    case MAP_PLACE:
      put(map, (uint32_t)place, 2);
      return;
  }
}

void compress_patch(Encoded *encoded, size_t at, size_t bytes) {
  bool last = at + bytes == encoded->payloadBytes;
  uint8_t flags = encoded->flags;
  if (at > 0) flags &= (uint8_t)~TCP_CWR;
  if (!last) flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
  uint8_t *out = encoded->bytes;
  if (encoded->compact) out[0] = (uint8_t)((out[0] & ~COMPACT_PSH) | (flags & TCP_PSH ? COMPACT_PSH : 0));
  else out[1] = (uint8_t)((out[1] & ~(BIT_PSH >> 8)) | (flags & TCP_PSH ? BIT_PSH >> 8 : 0));
  if (encoded->flagsAt > 0) out[encoded->flagsAt] = flags;
  if (encoded->seqBytes > 0) put_difference(out + encoded->seqAt, (int32_t)(encoded->seq + (uint32_t)at), encoded->seqBytes, QUARTER);
  if (encoded->mapAt > 0) patch_map(encoded, at, bytes);
}

// ---- decoding ----

typedef struct {
  const uint8_t *at, *end;
  bool overrun;
} Reader;

static uint32_t take(Reader *reader, unsigned bytes) {
  if ((size_t)(reader->end - reader->at) < bytes) {
    reader->overrun = true;
    return 0;
  }
  uint32_t value = 0;
  for (unsigned i = 0; i < bytes; i++) value = value << 8 | *reader->at++;
  return value;
}

static int64_t take_difference(Reader *reader, unsigned bytes, unsigned shift) {
  uint32_t value = take(reader, bytes);
  return bytes == 4 ? (int32_t)value : (int64_t)value - bias(bytes, shift);
}

int compress_id(const uint8_t *bytes, size_t length) {
  if (length == 0) return -1;
  if (!(bytes[0] & 0x80)) return bytes[0] & (COMPACT_IDS - 1);
  return length < 3 ? -1 : (bytes[0] << 2 & 0x1fc) | bytes[1] >> 6;
}

typedef struct {
  uint32_t first, length;
  uint8_t code;
} Map;

static Map take_map(Reader *reader, uint8_t code) {
  Map map = {0, 0, code};
  if (code == MAP_BYTE || code == MAP_INDEX) map.first = take(reader, 1);
  if (code == MAP_PLACE) map.first = take(reader, 2);
  if (code >= MAP_INDEX) map.length = take(reader, 2);
  return map;
}

// Place and length of the mapping, now that the payload's length is known. False: they make no sense.
static bool resolve_map(const Map *map, size_t payloadBytes, uint32_t *place, HeaderFields *out) {
  size_t at = 0, length = payloadBytes;
  switch (map->code) {
    case MAP_BYTE:
      at = (map->first >> 4) * payloadBytes;
      length = ((map->first & 15) + 1) * payloadBytes;
      break;
    case MAP_INDEX:
      length = map->length;
      if (map->first == INDEX_LAST && length < payloadBytes) return false;
      at = map->first == INDEX_LAST ? length - payloadBytes : map->first * payloadBytes;
      break;
    case MAP_PLACE:
      at = map->first;
      length = map->length;
      break;
  }
  if (length > 0xffff) return false;
  *place = (uint32_t)at;
  out->dataLength = (uint16_t)length;
  return true;
}

// Everything is read before anything is believed: the payload is what remains.
size_t compress_decode(const Header *base, const uint8_t *bytes, size_t length, HeaderFields *out) {
  const HeaderLayout *layout = &base->layout;
  Reader reader = {bytes, bytes + length, false};
  uint32_t bits = take(&reader, 1);
  bool compact = !(bits & 0x80);
  unsigned tsValBytes = 1, tsEcrBytes = 1, wide = 3, dataAck = DATA_ACK_SAME, dsn = DSN_AS_SSN;
  uint8_t mapCode = MAP_BYTE;
  bool psh;
  *out = base->fields;
  if (compact) {
    if (bits & COMPACT_TIMES) tsValBytes = tsEcrBytes = 2;
    if (bits & COMPACT_TIMES && layout->timestamps == 0) mapCode = MAP_INDEX;
    if (bits & COMPACT_DSN) dsn = DSN_3;
    psh = bits & COMPACT_PSH;
    bits = bits & COMPACT_ACK ? BIT_SEQ | BIT_ACK : BIT_SEQ;
    dataAck = DATA_ACK_AS_ACK;
  } else {
    bits = bits << 16 | take(&reader, 2);
    wide = bits & BIT_WIDE ? 4 : 3;
    dataAck = bits >> SHIFT_DATA_ACK & 3;
    dsn = bits >> SHIFT_DSN & 3;
    mapCode = bits >> SHIFT_MAP & 3;
    tsValBytes = time_bytes(bits, BIT_TS_VAL);
    tsEcrBytes = time_bytes(bits, BIT_TS_ECR);
    psh = bits & BIT_PSH;
  }
  if (bits & BIT_FLAGS) out->flags = (uint8_t)take(&reader, 1) & (uint8_t)~TCP_PSH;
  if (psh) out->flags |= TCP_PSH;
  uint32_t seq = bits & BIT_SEQ ? (uint32_t)take_difference(&reader, wide, QUARTER) : 0;
  int64_t ack = !(bits & BIT_ACK) ? 0 : compact ? take_difference(&reader, 2, SIXTEENTH) : take_difference(&reader, wide, QUARTER);
  if (bits & BIT_WINDOW) out->window = (uint16_t)take(&reader, 2);
  if (layout->timestamps > 0) {
    out->tsVal += (uint32_t)take_difference(&reader, tsValBytes, SIXTEENTH);
    out->tsEcr += (uint32_t)take_difference(&reader, tsEcrBytes, SIXTEENTH);
  }
  if (layout->dataAck > 0) {
    int64_t moved = dataAck == DATA_ACK_SAME ? 0 : dataAck == DATA_ACK_AS_ACK ? ack : take_difference(&reader, dataAck == DATA_ACK_3 ? 3 : 4, QUARTER);
    out->dataAck += (uint64_t)moved;
  }
  out->seq += seq;
  out->ack += (uint32_t)ack;
  if (layout->dsn > 0) {
    Map map = take_map(&reader, mapCode);
    if (dsn > DSN_4) return 0;
    int64_t moved = dsn == DSN_AS_SSN ? 0 : take_difference(&reader, dsn == DSN_3 ? 3 : 4, QUARTER);
    uint32_t place = 0;
    if (reader.overrun || !resolve_map(&map, (size_t)(reader.end - reader.at), &place, out)) return 0;
    out->ssn += seq - place;
    out->dsn += (uint64_t)(dsn == DSN_AS_SSN ? (int64_t)(int32_t)(seq - place) : moved);
  }
  return reader.overrun ? 0 : (size_t)(reader.at - bytes);
}

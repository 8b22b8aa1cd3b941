// The anti-replay window of RFC 6479: a ring of words, where moving ahead clears words and shifts nothing.
#ifndef MPTUNNEL_REPLAY_H
#define MPTUNNEL_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_WORDS 64
// One word is always being cleared ahead.
#define REPLAY_WINDOW_PACKETS ((REPLAY_WORDS - 1) * 64)

typedef struct {
  // Highest number seen plus one, 0 before the first.
  uint64_t next;
  uint64_t words[REPLAY_WORDS];
} ReplayWindow;

static inline bool replay_acceptable(const ReplayWindow *window, uint64_t number) {
  if (number >= window->next) return true;
  if (window->next - number > REPLAY_WINDOW_PACKETS) return false;
  return !(window->words[(number >> 6) % REPLAY_WORDS] >> (number & 63) & 1);
}

// Only after the packet has proven to be authentic.
static inline void replay_mark(ReplayWindow *window, uint64_t number) {
  if (number >= window->next) {
    // Words strictly behind the one of the highest number so far, up to that of the new one.
    uint64_t from = window->next == 0 ? 0 : ((window->next - 1) >> 6) + 1, to = number >> 6;
    if (to >= from + REPLAY_WORDS) from = to - REPLAY_WORDS + 1;
    for (uint64_t word = from; word <= to; word++) window->words[word % REPLAY_WORDS] = 0;
    window->next = number + 1;
  }
  window->words[(number >> 6) % REPLAY_WORDS] |= 1ULL << (number & 63);
}

#endif

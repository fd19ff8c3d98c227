// Products of matrices on a processor with a unit for them (AMX): their numbers are rounded to sixteen bits, their sums are not.
#include "train.h"

#if !defined __AMX_BF16__ || !defined __AVX512BF16__ || !defined __AVX512BW__
int multiply_in_tiles(Sizes s, Matrix a, Matrix b, float *c, Into into) {
  (void)s, (void)a, (void)b, (void)c, (void)into;
  return 0;
}
#else
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/** A tile has 16 rows of 16 pairs; a pair is of two neighbours in depth. */
enum { ROWS = 16, PAIRS = 16, DEEP = 2 * PAIRS, BLOCK = 2 * ROWS };
/** What Linux calls asking for the unit, and its state. */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
typedef __m512i Pairs;

typedef struct {
  uint8_t palette, start, none[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} __attribute__((packed)) Layout;

/** Whether this thread may use the unit; asks for it the first time. */
static int ready(void) {
  static _Thread_local enum { UNKNOWN, NO, YES } may;
  if (may == UNKNOWN) {
    may = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 ? YES : NO;
    Layout layout = {.palette = 1};
    for (int t = 0; t < 8; t++) layout.row_bytes[t] = PAIRS * sizeof(float), layout.rows[t] = ROWS;
    if (may == YES) _tile_loadconfig(&layout);
  }
  return may == YES;
}

/** Rows become columns. */
static void turn(Pairs r[PAIRS]) {
  Pairs t[PAIRS];
  for (int i = 0; i < PAIRS; i += 2) t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  for (int i = 0; i < PAIRS; i += 4)
    for (int n = 0; n < 2; n++) r[i + 2 * n] = _mm512_unpacklo_epi64(t[i + n], t[i + n + 2]), r[i + 2 * n + 1] = _mm512_unpackhi_epi64(t[i + n], t[i + n + 2]);
  // r[4 q + c] has in its four lanes the columns c, c + 4, c + 8, c + 12 of the rows 4 q to 4 q + 3.
  for (int c = 0; c < 4; c++) {
    const Pairs low = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), low_odd = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const Pairs high = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88), high_odd = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(low, high, 0x88), t[8 + c] = _mm512_shuffle_i32x4(low, high, 0xdd);
    t[4 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88), t[12 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
  memcpy(r, t, sizeof t);
}

static inline __mmask16 first(int count) { return (__mmask16)(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1); }

typedef enum { ACROSS_OF_DEEP, DEEP_OF_ACROSS } Order;

/** `wide` rows or columns of `deep` numbers each, filled up with zeros, as one tile: its rows go across and hold pairs in depth, or the other way round. */
static inline __attribute__((always_inline)) void pack(const float *from, size_t deeper, size_t across, int wide, int deep, Order order, Pairs *to) {
  Pairs rows[PAIRS];
  if (deeper == 1) {
    for (int x = 0; x < ROWS; x++) {
      const float *at = from + x * across;
      rows[x] = x < wide ? (Pairs)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(first(deep - 16), at + 16), _mm512_maskz_loadu_ps(first(deep), at)) : _mm512_setzero_si512();
    }
  } else {
    const Pairs zipped = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int p = 0; p < PAIRS; p++) {
      const float *at = from + 2 * p * deeper;
      const __m512 one = _mm512_maskz_loadu_ps(2 * p < deep ? first(wide) : 0, at), two = _mm512_maskz_loadu_ps(2 * p + 1 < deep ? first(wide) : 0, at + deeper);
      rows[p] = _mm512_permutexvar_epi16(zipped, (Pairs)_mm512_cvtne2ps_pbh(two, one));
    }
  }
  if ((deeper == 1) != (order == ACROSS_OF_DEEP)) turn(rows);
  memcpy(to, rows, sizeof rows);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/** Two by two tiles of C, from so many steps of two tiles of A and two of B each. */
static void block(int steps, const Pairs *a, const Pairs *b, float *c, size_t stride, Into into) {
  const size_t bytes = stride * sizeof(float);
  float *below = c + ROWS * stride;
  if (into == ADD) {
    _tile_loadd(0, c, bytes); _tile_loadd(1, c + ROWS, bytes); _tile_loadd(2, below, bytes); _tile_loadd(3, below + ROWS, bytes);
  } else {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  }
  for (int k = 0; k < steps; k++, a += 2 * ROWS, b += 2 * ROWS) {
    _tile_loadd(4, a, 64); _tile_loadd(5, a + ROWS, 64); _tile_loadd(6, b, 64); _tile_loadd(7, b + ROWS, 64);
    _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, bytes); _tile_stored(1, c + ROWS, bytes); _tile_stored(2, below, bytes); _tile_stored(3, below + ROWS, bytes);
}

/** Has the block of C that is next brought near: its rows lie too far apart for the processor to see it coming. */
static inline void fetch_block(const float *c, Sizes s, int row, int column) {
  for (int r = row; r < least(row + BLOCK, s.rows); r++)
    for (int n = 0; n < BLOCK; n += ROWS) __builtin_prefetch(c + (size_t)r * s.columns + column + n, 1, 3);
}

int multiply_in_tiles(Sizes s, Matrix a, Matrix b, float *c, Into into) {
  if (!ready()) return 0;
  static _Thread_local Pairs *packed_a, *packed_b;
  // The deepest products are those of all words, and of all tokens of a piece.
  const size_t deepest = most(VOCAB, PIECE_TOKENS_MAX) + DEEP, largest = most((size_t)VOCAB * (WIDTH + DEEP), (size_t)(INNER + BLOCK) * (PIECE_TOKENS_MAX + DEEP));
  if (!packed_a) packed_a = memory(BLOCK * deepest * sizeof(uint16_t)), packed_b = memory(largest * sizeof(uint16_t));
  const int steps = (s.depth + DEEP - 1) / DEEP;
  if ((size_t)steps * DEEP > deepest || (size_t)steps * DEEP * (size_t)((s.columns + BLOCK - 1) / BLOCK * BLOCK) > largest) abort();
  for (int j = 0; j < s.columns; j += BLOCK)
    for (int k = 0; k < steps; k++)
      for (int n = 0; n < 2; n++) {
        const int at = j + n * ROWS;
        pack(b.at + (size_t)k * DEEP * b.row + at * b.column, b.row, b.column, s.columns - at, s.depth - k * DEEP, DEEP_OF_ACROSS, packed_b + ((size_t)(j / BLOCK * steps + k) * 2 + n) * ROWS);
      }
  float part[BLOCK * BLOCK];
  for (int i = 0; i < s.rows; i += BLOCK) {
    for (int k = 0; k < steps; k++)
      for (int n = 0; n < 2; n++) {
        const int at = i + n * ROWS;
        pack(a.at + (size_t)at * a.row + (size_t)k * DEEP * a.column, a.column, a.row, s.rows - at, s.depth - k * DEEP, ACROSS_OF_DEEP, packed_a + ((size_t)k * 2 + n) * ROWS);
      }
    const int high = least(BLOCK, s.rows - i);
    for (int j = 0; j < s.columns; j += BLOCK) {
      float *to = c + (size_t)i * s.columns + j;
      fetch_block(c, s, j + BLOCK < s.columns ? i : i + BLOCK, j + BLOCK < s.columns ? j + BLOCK : 0);
      const Pairs *b_block = packed_b + (size_t)(j / BLOCK) * steps * 2 * ROWS;
      const int wide = least(BLOCK, s.columns - j);
      if (high == BLOCK && wide == BLOCK) {
        block(steps, packed_a, b_block, to, s.columns, into);
        continue;
      }
      block(steps, packed_a, b_block, part, BLOCK, SET);
      for (int r = 0; r < high; r++)
        for (int x = 0; x < wide; x++) to[(size_t)r * s.columns + x] = part[r * BLOCK + x] + (into == ADD ? to[(size_t)r * s.columns + x] : 0);
    }
  }
  return 1;
}
#endif

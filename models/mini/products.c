// Products of matrices, each on one thread: by the unit for them where the processor has one (tiles.c), else in vectors.
#include <string.h>
#include "train.h"

// A tile of C stays in registers while its sums are made: so many there are. There are few for addresses, too, so only each APART-th row has one.
#ifdef __AVX512F__
enum { TILE_ROWS = 12, APART = 3 };
#else
enum { TILE_ROWS = 4, APART = 2 };
#endif
enum { TILE_COLUMNS = 2 * LANES, BLOCK_ROWS = TILE_ROWS * 16, BLOCK_DEPTH = 128, COLUMNS_MAX = VOCAB > INNER ? VOCAB : INNER, FOUR = 4 };

_Static_assert(WIDTH % FOUR == 0 && INNER % FOUR == 0 && VOCAB % FOUR == 0, "rows are turned by fours");
typedef float Four __attribute__((vector_size(FOUR * sizeof(float)), aligned(4)));
typedef int Order __attribute__((vector_size(FOUR * sizeof(int))));

/** Four rows of four, turned. */
static void turn_four(const float *const rows[FOUR], int at, float *to, int stride) {
  const Four one = *(const Four *)(rows[0] + at), two = *(const Four *)(rows[1] + at), three = *(const Four *)(rows[2] + at), four = *(const Four *)(rows[3] + at);
  const Order low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
  const Four a = __builtin_shuffle(one, two, low), b = __builtin_shuffle(one, two, high), c = __builtin_shuffle(three, four, low), d = __builtin_shuffle(three, four, high);
  *(Four *)to = __builtin_shuffle(a, c, first);
  *(Four *)(to + stride) = __builtin_shuffle(a, c, second);
  *(Four *)(to + 2 * stride) = __builtin_shuffle(b, d, first);
  *(Four *)(to + 3 * stride) = __builtin_shuffle(b, d, second);
}

/** `wide` rows or columns of a matrix, laid so that the tile reads them one behind the other: `depth` groups of `full`, filled up with zeros. */
static inline void pack(const float *from, size_t deeper, size_t across, int depth, int wide, const int full, float *to) {
  static const float zeros[BLOCK_DEPTH];
  if (across == 1 && wide == full) {
    for (int k = 0; k < depth; k++) memcpy(to + (size_t)k * full, from + k * deeper, full * sizeof(float));
  } else if (across == 1) {
    for (int k = 0; k < depth; k++)
      for (int r = 0; r < full; r++) to[(size_t)k * full + r] = r < wide ? from[k * deeper + r] : 0;
  } else {
    for (int r = 0; r < full; r += FOUR) {
      const float *rows[FOUR];
      for (int i = 0; i < FOUR; i++) rows[i] = r + i < wide ? from + (r + i) * across : zeros;
      for (int k = 0; k < depth; k += FOUR) turn_four(rows, k, to + (size_t)k * full + r, full);
    }
  }
}

typedef struct {
  float *at;
  size_t stride;
  int rows, columns;
} Place;

static inline __attribute__((always_inline)) void add_up(int depth, Matrix a, const float *b, Lanes sum[TILE_ROWS][2]) {
  const float *bases[TILE_ROWS / APART];
  for (int i = 0; i < TILE_ROWS / APART; i++) bases[i] = a.at + APART * i * a.row;
  for (int k = 0; k < depth; k++, b += TILE_COLUMNS) {
    const Lanes left = *(const Lanes *)b, right = *(const Lanes *)(b + LANES);
#pragma GCC unroll 12
    for (int r = 0; r < TILE_ROWS; r++) {
      const float one = bases[r / APART][r % APART * a.row + k * a.column];
      sum[r][0] += one * left;
      sum[r][1] += one * right;
    }
  }
}

static void tile(int depth, Matrix a, const float *b, Place c, Into into) {
  Lanes sum[TILE_ROWS][2];
  memset(sum, 0, sizeof sum);
  if (a.column == 1) add_up(depth, plain(a.at, a.row), b, sum);
  else add_up(depth, turned(a.at, a.column), b, sum);
  if (c.rows == TILE_ROWS && c.columns == TILE_COLUMNS) {
#pragma GCC unroll 12
    for (int r = 0; r < TILE_ROWS; r++) {
      Lanes *left = (Lanes *)(c.at + r * c.stride), *right = left + 1;
      *left = into == ADD ? *left + sum[r][0] : sum[r][0];
      *right = into == ADD ? *right + sum[r][1] : sum[r][1];
    }
    return;
  }
  for (int r = 0; r < c.rows; r++)
    for (int j = 0; j < c.columns; j++) {
      float *one = c.at + r * c.stride + j;
      const float made = sum[r][j / LANES][j % LANES];
      *one = into == ADD ? *one + made : made;
    }
}

void multiply(Sizes s, Matrix a, Matrix b, float *c, Into into) {
  if (multiply_in_tiles(s, a, b, c, into)) return;
  static _Thread_local float *packed_a, *packed_b;
  if (!packed_a) packed_a = floats(BLOCK_ROWS * BLOCK_DEPTH), packed_b = floats((COLUMNS_MAX + TILE_COLUMNS) * BLOCK_DEPTH);
  for (int from = 0; from < s.depth; from += BLOCK_DEPTH) {
    const int deep = least(BLOCK_DEPTH, s.depth - from);
    const Into now = from > 0 ? ADD : into;
    for (int first = 0; first < s.columns; first += TILE_COLUMNS)
      pack(b.at + from * b.row + first * b.column, b.row, b.column, deep, least(TILE_COLUMNS, s.columns - first), TILE_COLUMNS, packed_b + (size_t)first * BLOCK_DEPTH);
    for (int top = 0; top < s.rows; top += BLOCK_ROWS) {
      const int high = least(BLOCK_ROWS, s.rows - top);
      // Rows that lie so are read where they are, as long as they fill a tile.
      const int as_is = a.column == 1 ? high - high % TILE_ROWS : 0;
      const Matrix rows = {a.at + top * a.row + from * a.column, a.row, a.column};
      for (int t = as_is; t < high; t += TILE_ROWS) pack(rows.at + t * a.row, a.column, a.row, deep, least(TILE_ROWS, high - t), TILE_ROWS, packed_a + (size_t)t * BLOCK_DEPTH);
      for (int first = 0; first < s.columns; first += TILE_COLUMNS)
        for (int t = 0; t < high; t += TILE_ROWS) {
          const Place place = {c + (size_t)(top + t) * s.columns + first, s.columns, least(TILE_ROWS, high - t), least(TILE_COLUMNS, s.columns - first)};
          tile(deep, t < as_is ? plain(rows.at + t * a.row, a.row) : turned(packed_a + (size_t)t * BLOCK_DEPTH, TILE_ROWS), packed_b + (size_t)first * BLOCK_DEPTH, place, now);
        }
    }
  }
}

// Products of matrices on all threads; every sum has one order, whatever thread makes it.
#include <omp.h>
#include <string.h>
#include "train.h"

// A tile of C stays in registers while its sums are made: so many there are.
#ifdef __AVX512F__
enum { TILE_ROWS = 12 };
#else
enum { TILE_ROWS = 4 };
#endif
enum { TILE_COLUMNS = 2 * LANES, BLOCK_ROWS = TILE_ROWS * 16, BLOCK_DEPTH = 256, FOUR = 4 };

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

static void tile(int depth, const float *a, const float *b, Place c, Into into) {
  Lanes sum[TILE_ROWS][2];
  memset(sum, 0, sizeof sum);
  for (int k = 0; k < depth; k++, a += TILE_ROWS, b += TILE_COLUMNS) {
    const Lanes left = *(const Lanes *)b, right = *(const Lanes *)(b + LANES);
#pragma GCC unroll 12
    for (int r = 0; r < TILE_ROWS; r++) {
      sum[r][0] += a[r] * left;
      sum[r][1] += a[r] * right;
    }
  }
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

static int least(int a, int b) { return a < b ? a : b; }

static float *packed_a[THREADS], *packed_b;

static void prepare_packs(void) {
  const size_t widest = VOCAB > STEP_TOKENS_MAX ? VOCAB : STEP_TOKENS_MAX;
  packed_b = floats((widest + TILE_COLUMNS) * BLOCK_DEPTH);
  for (int t = 0; t < THREADS; t++) packed_a[t] = floats((size_t)BLOCK_ROWS * BLOCK_DEPTH);
}

void multiply(Sizes s, Matrix a, Matrix b, float *c, Into into) {
  if (!packed_b) prepare_packs();
  const int panels = (s.columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
  // Few rows go in small blocks, so that every thread has some.
  const int block = s.rows < 4 * BLOCK_ROWS ? 2 * TILE_ROWS : BLOCK_ROWS;
  for (int from = 0; from < s.depth; from += BLOCK_DEPTH) {
    const int deep = least(BLOCK_DEPTH, s.depth - from);
    const Into now = from > 0 ? ADD : into;
#pragma omp parallel
    {
#pragma omp for schedule(static)
      for (int panel = 0; panel < panels; panel++) {
        const int first = panel * TILE_COLUMNS;
        pack(b.at + from * b.row + first * b.column, b.row, b.column, deep, least(TILE_COLUMNS, s.columns - first), TILE_COLUMNS, packed_b + (size_t)first * BLOCK_DEPTH);
      }
      float *own = packed_a[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 1)
      for (int top = 0; top < s.rows; top += block) {
        const int high = least(block, s.rows - top);
        for (int t = 0; t < high; t += TILE_ROWS) pack(a.at + (top + t) * a.row + from * a.column, a.column, a.row, deep, least(TILE_ROWS, high - t), TILE_ROWS, own + (size_t)t * BLOCK_DEPTH);
        for (int first = 0; first < s.columns; first += TILE_COLUMNS)
          for (int t = 0; t < high; t += TILE_ROWS) {
            const Place place = {c + (size_t)(top + t) * s.columns + first, s.columns, least(TILE_ROWS, high - t), least(TILE_COLUMNS, s.columns - first)};
            tile(deep, own + (size_t)t * BLOCK_DEPTH, packed_b + (size_t)first * BLOCK_DEPTH, place, now);
          }
      }
    }
  }
}

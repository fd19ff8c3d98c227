// Trains bkg-mini: a llama of a million parameters, on the CPU, the same bytes for the same seed on the same machine.
//
//   train TOKENS FIRST WEIGHTS
//
// TOKENS  (written by convert.py) int32 count; then per conversation int32 length, length * uint16 token, length * uint8: is it learned?
//         They are read once, in their order.
// FIRST   the weights to begin with, and
// WEIGHTS those learned: float32, in the order of `layout` below; matrices as [in][out].
//
// Conversations lie one behind the other without padding; attention sees only its own. Every sum has one order, whatever thread makes it.
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if !defined VOCAB || !defined WIDTH || !defined LAYERS || !defined HEADS || !defined INNER || !defined CONTEXT || !defined ROPE_BASE || !defined EPSILON
#error "make.ts gives the shape: -DVOCAB=… -DWIDTH=… and so on"
#endif
#define HEAD_WIDTH (WIDTH / HEADS)
#define LENGTH_MAX CONTEXT

#define THREADS 2
/** A step learns from so many tokens, and at most one conversation more. */
#define STEP_TOKENS 4096
#define STEP_TOKENS_MAX (STEP_TOKENS + LENGTH_MAX)
#define RATE 8e-3
#define WARM_STEPS 60
#define LAST_RATE 0.02
#define DECAY 0.05f
#define MOMENTUM 0.95f
#define CLIP 1.0f
#define ADAM_FIRST 0.9f
#define ADAM_SECOND 0.98f
#define WORD_RATE 1.5f
#define SAY_EVERY_S 15

#define FOR_ALL _Pragma("omp parallel for schedule(static)")

// ─── Weights ────────────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  float *attn_norm, *q, *k, *v, *o, *ffn_norm, *gate, *up, *down;
} Layer;
typedef struct {
  float *words, *norm;
  Layer layers[LAYERS];
} Model;
typedef struct {
  size_t at, rows, columns; // columns 1: a norm
} Part;

enum { PARTS = 2 + 9 * LAYERS };
static Part parts[PARTS];
static size_t parameters;

/** The order of all parts in one row of numbers. */
static void layout(void) {
  const size_t shapes[9][2] = {{WIDTH, 1}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, 1}, {WIDTH, INNER}, {WIDTH, INNER}, {INNER, WIDTH}};
  int n = 0;
  parts[n++] = (Part){0, VOCAB, WIDTH};
  parameters = (size_t)VOCAB * WIDTH;
  parts[n++] = (Part){parameters, WIDTH, 1};
  parameters += WIDTH;
  for (int layer = 0; layer < LAYERS; layer++)
    for (int i = 0; i < 9; i++) {
      parts[n++] = (Part){parameters, shapes[i][0], shapes[i][1]};
      parameters += shapes[i][0] * shapes[i][1];
    }
}

static Model view(float *all) {
  Model m = {.words = all + parts[0].at, .norm = all + parts[1].at};
  for (int l = 0; l < LAYERS; l++) {
    float *p[9];
    for (int i = 0; i < 9; i++) p[i] = all + parts[2 + 9 * l + i].at;
    m.layers[l] = (Layer){p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]};
  }
  return m;
}

static void *memory(size_t bytes) {
  void *found = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!found) {
    fprintf(stderr, "no memory for %zu bytes\n", bytes);
    exit(1);
  }
  memset(found, 0, bytes);
  return found;
}
static float *floats(size_t count) { return memory(count * sizeof(float)); }

// ─── Products of matrices ───────────────────────────────────────────────────────────────────────────────────────────────

#ifdef __AVX512F__
enum { LANES = 16, TILE_ROWS = 12 };
#else
enum { LANES = 8, TILE_ROWS = 6 };
#endif
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));
enum { TILE_COLUMNS = 2 * LANES, BLOCK_ROWS = TILE_ROWS * 16, BLOCK_DEPTH = 256, HEAD_LANES = HEAD_WIDTH / LANES };

static float *packed_b, *packed_a[THREADS];

/** Of A and B in the cache, one tile of C: sums stay in registers. */
static void tile(int depth, const float *a, const float *b, float *c, size_t stride, int rows, int columns) {
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
  if (rows == TILE_ROWS && columns == TILE_COLUMNS) {
#pragma GCC unroll 12
    for (int r = 0; r < TILE_ROWS; r++) {
      *(Lanes *)(c + r * stride) += sum[r][0];
      *(Lanes *)(c + r * stride + LANES) += sum[r][1];
    }
    return;
  }
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < columns; j++) c[r * stride + j] += sum[r][j / LANES][j % LANES];
}

static int least(int a, int b) { return a < b ? a : b; }

/** C[rows][columns] += A * B; element (i, k) of A lies at i * a_row + k * a_column, of B likewise, of C at i * c_row + j. */
static void multiply(int rows, int columns, int depth, const float *a, size_t a_row, size_t a_column, const float *b, size_t b_row, size_t b_column, float *c, size_t c_row) {
  const int panels = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
  // Few rows go in small blocks, so that every thread has some.
  const int block = rows < 4 * BLOCK_ROWS ? 2 * TILE_ROWS : BLOCK_ROWS;
  for (int from = 0; from < depth; from += BLOCK_DEPTH) {
    const int deep = least(BLOCK_DEPTH, depth - from);
#pragma omp parallel
    {
#pragma omp for schedule(static)
      for (int panel = 0; panel < panels; panel++) {
        float *to = packed_b + (size_t)panel * BLOCK_DEPTH * TILE_COLUMNS;
        const int first = panel * TILE_COLUMNS, wide = least(TILE_COLUMNS, columns - first);
        for (int k = 0; k < deep; k++, to += TILE_COLUMNS) {
          const float *row = b + (from + k) * b_row + first * b_column;
          for (int j = 0; j < wide; j++) to[j] = row[j * b_column];
          for (int j = wide; j < TILE_COLUMNS; j++) to[j] = 0;
        }
      }
      float *own = packed_a[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 1)
      for (int top = 0; top < rows; top += block) {
        const int high = least(block, rows - top);
        for (int t = 0; t < high; t += TILE_ROWS) {
          float *to = own + (size_t)t * BLOCK_DEPTH;
          const int tall = least(TILE_ROWS, high - t);
          for (int k = 0; k < deep; k++, to += TILE_ROWS)
            for (int r = 0; r < TILE_ROWS; r++) to[r] = r < tall ? a[(size_t)(top + t + r) * a_row + (from + k) * a_column] : 0;
        }
        for (int panel = 0; panel < panels; panel++) {
          const int first = panel * TILE_COLUMNS;
          for (int t = 0; t < high; t += TILE_ROWS)
            tile(deep, own + (size_t)t * BLOCK_DEPTH, packed_b + (size_t)panel * BLOCK_DEPTH * TILE_COLUMNS, c + (size_t)(top + t) * c_row + first, c_row, least(TILE_ROWS, high - t),
                 least(TILE_COLUMNS, columns - first));
        }
      }
    }
  }
}

/** y = x w (rows of x by [in][out]). */
static void forward_product(int rows, int in, int out, const float *x, const float *w, float *y) {
  memset(y, 0, (size_t)rows * out * sizeof(float));
  multiply(rows, out, in, x, in, 1, w, out, 1, y, out);
}
/** dx += dy w^T and dw += x^T dy. */
static void backward_product(int rows, int in, int out, const float *x, const float *w, const float *dy, float *dx, float *dw) {
  multiply(rows, in, out, dy, out, 1, w, 1, out, dx, in);
  multiply(in, out, rows, x, 1, in, dy, out, 1, dw, out);
}

// ─── One step ───────────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  int tokens, texts;
  int *ids, *targets, *position;
  uint8_t *learned;
  int *start; // of each text, and the end of the last
} Batch;

typedef struct {
  float *x, *scale1, *y1, *q, *k, *v, *seen, *x2, *scale2, *y2, *gate, *up, *inner;
} Kept;

static Kept kept[LAYERS];
static float *stream, *last_scale, *last, *logits;
static float *d_stream, *d_y, *d_q, *d_k, *d_v, *d_seen, *d_gate, *d_up, *d_inner;
static float cosines[LENGTH_MAX][HEAD_WIDTH / 2], sines[LENGTH_MAX][HEAD_WIDTH / 2];

static void prepare(void) {
  const size_t n = STEP_TOKENS_MAX;
  for (int l = 0; l < LAYERS; l++)
    kept[l] = (Kept){floats(n * WIDTH), floats(n), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n), floats(n * WIDTH),
                     floats(n * INNER), floats(n * INNER), floats(n * INNER)};
  stream = floats(n * WIDTH), last_scale = floats(n), last = floats(n * WIDTH), logits = floats(n * VOCAB);
  d_stream = floats(n * WIDTH), d_y = floats(n * WIDTH), d_q = floats(n * WIDTH), d_k = floats(n * WIDTH), d_v = floats(n * WIDTH), d_seen = floats(n * WIDTH);
  d_gate = floats(n * INNER), d_up = floats(n * INNER), d_inner = floats(n * INNER);
  const size_t widest = VOCAB > n ? VOCAB : n;
  packed_b = floats((widest + TILE_COLUMNS) * BLOCK_DEPTH);
  for (int t = 0; t < THREADS; t++) packed_a[t] = floats((size_t)BLOCK_ROWS * BLOCK_DEPTH);
  for (int p = 0; p < LENGTH_MAX; p++)
    for (int i = 0; i < HEAD_WIDTH / 2; i++) {
      const double angle = p * pow((double)ROPE_BASE, -2.0 * i / HEAD_WIDTH);
      cosines[p][i] = (float)cos(angle), sines[p][i] = (float)sin(angle);
    }
}

static void norm(int rows, const float *x, const float *weight, float *scale, float *y) {
  FOR_ALL for (int t = 0; t < rows; t++) {
    const float *from = x + (size_t)t * WIDTH;
    float *to = y + (size_t)t * WIDTH, sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += from[i] * from[i];
    const float s = scale[t] = 1.0f / sqrtf(sum / WIDTH + (float)EPSILON);
    for (int i = 0; i < WIDTH; i++) to[i] = from[i] * s * weight[i];
  }
}
/** dx += and dweight += of `norm`. */
static void norm_back(int rows, const float *x, const float *weight, const float *scale, const float *dy, float *dx, float *dweight) {
  FOR_ALL for (int t = 0; t < rows; t++) {
    const float *from = x + (size_t)t * WIDTH, *d = dy + (size_t)t * WIDTH, s = scale[t];
    float *to = dx + (size_t)t * WIDTH, along = 0;
    for (int i = 0; i < WIDTH; i++) along += d[i] * weight[i] * from[i];
    along *= s * s * s / WIDTH;
    for (int i = 0; i < WIDTH; i++) to[i] += d[i] * weight[i] * s - from[i] * along;
  }
  FOR_ALL for (int from = 0; from < WIDTH; from += LANES)
    for (int t = 0; t < rows; t++)
      for (int i = from; i < from + LANES; i++) dweight[i] += dy[(size_t)t * WIDTH + i] * x[(size_t)t * WIDTH + i] * scale[t];
}

/** Rotary positions in llama.cpp's order, neighbours a pair; back with sign -1. */
static void turn(const Batch *b, float *x, float sign) {
  FOR_ALL for (int t = 0; t < b->tokens; t++) {
    const float *c = cosines[b->position[t]], *s = sines[b->position[t]];
    for (int h = 0; h < HEADS; h++) {
      float *at = x + (size_t)t * WIDTH + h * HEAD_WIDTH;
      for (int i = 0; i < HEAD_WIDTH / 2; i++) {
        const float one = at[2 * i], two = at[2 * i + 1];
        at[2 * i] = one * c[i] - two * s[i] * sign;
        at[2 * i + 1] = one * s[i] * sign + two * c[i];
      }
    }
  }
}

/** [length][HEAD_WIDTH] of one head to [HEAD_WIDTH][length]. */
static void flip(const float *x, int length, float *to) {
  for (int s = 0; s < length; s++)
    for (int i = 0; i < HEAD_WIDTH; i++) to[(size_t)i * LENGTH_MAX + s] = x[(size_t)s * WIDTH + i];
}

/** p[0..t] = how much token t looks at each token up to itself. */
static void look(const float *q, const float *flipped_k, int t, float *p) {
  for (int s = 0; s <= t; s++) p[s] = 0;
  for (int i = 0; i < HEAD_WIDTH; i++) {
    const float *row = flipped_k + (size_t)i * LENGTH_MAX, own = q[i] / sqrtf(HEAD_WIDTH);
    for (int s = 0; s <= t; s++) p[s] += own * row[s];
  }
  float most = p[0], sum = 0;
  for (int s = 1; s <= t; s++) most = p[s] > most ? p[s] : most;
  for (int s = 0; s <= t; s++) p[s] = expf(p[s] - most);
  for (int s = 0; s <= t; s++) sum += p[s];
  const float share = 1.0f / sum;
  for (int s = 0; s <= t; s++) p[s] *= share;
}

static void attend(const Batch *b, const Kept *k) {
#pragma omp parallel
  {
    float *flipped = floats((size_t)HEAD_WIDTH * LENGTH_MAX), p[LENGTH_MAX];
#pragma omp for schedule(dynamic, 4)
    for (int job = 0; job < b->texts * HEADS; job++) {
      const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
      const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
      flip(k->k + at, length, flipped);
      for (int t = 0; t < length; t++) {
        look(k->q + at + (size_t)t * WIDTH, flipped, t, p);
        Lanes sum[HEAD_LANES] = {0};
        for (int s = 0; s <= t; s++) {
          const Lanes *v = (const Lanes *)(k->v + at + (size_t)s * WIDTH);
          for (int i = 0; i < HEAD_LANES; i++) sum[i] += p[s] * v[i];
        }
        memcpy(k->seen + at + (size_t)t * WIDTH, sum, sizeof sum);
      }
    }
    free(flipped);
  }
}

static void attend_back(const Batch *b, const Kept *k) {
  memset(d_q, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d_k, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d_v, 0, (size_t)b->tokens * WIDTH * sizeof(float));
#pragma omp parallel
  {
    float *flipped_k = floats((size_t)HEAD_WIDTH * LENGTH_MAX), *flipped_v = floats((size_t)HEAD_WIDTH * LENGTH_MAX), p[LENGTH_MAX], d[LENGTH_MAX];
#pragma omp for schedule(dynamic, 4)
    for (int job = 0; job < b->texts * HEADS; job++) {
      const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
      const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
      flip(k->k + at, length, flipped_k);
      flip(k->v + at, length, flipped_v);
      for (int t = 0; t < length; t++) {
        const float *q = k->q + at + (size_t)t * WIDTH, *d_out = d_seen + at + (size_t)t * WIDTH;
        look(q, flipped_k, t, p);
        float mean = 0;
        for (int s = 0; s <= t; s++) d[s] = 0;
        for (int i = 0; i < HEAD_WIDTH; i++)
          for (int s = 0; s <= t; s++) d[s] += d_out[i] * flipped_v[(size_t)i * LENGTH_MAX + s];
        for (int s = 0; s <= t; s++) mean += p[s] * d[s];
        for (int s = 0; s <= t; s++) d[s] = p[s] * (d[s] - mean) / sqrtf(HEAD_WIDTH);
        Lanes own[HEAD_LANES], out[HEAD_LANES], dq[HEAD_LANES] = {0};
        memcpy(own, q, sizeof own);
        memcpy(out, d_out, sizeof out);
        for (int s = 0; s <= t; s++) {
          const size_t row = at + (size_t)s * WIDTH;
          const Lanes *key = (const Lanes *)(k->k + row);
          Lanes *dk = (Lanes *)(d_k + row), *dv = (Lanes *)(d_v + row);
          for (int i = 0; i < HEAD_LANES; i++) {
            dq[i] += d[s] * key[i];
            dk[i] += d[s] * own[i];
            dv[i] += p[s] * out[i];
          }
        }
        memcpy(d_q + at + (size_t)t * WIDTH, dq, sizeof dq);
      }
    }
    free(flipped_k), free(flipped_v);
  }
}

/** The rows of a batch whose next token is learned; past the last attention only they go on. */
static int chosen[STEP_TOKENS_MAX], chosen_count;

static void choose(const Batch *b) {
  chosen_count = 0;
  for (int t = 0; t < b->tokens; t++)
    if (b->learned[t]) chosen[chosen_count++] = t;
}
/** The chosen rows of x, moved to its beginning. */
static void gather_rows(float *x) {
  for (int r = 0; r < chosen_count; r++) memmove(x + (size_t)r * WIDTH, x + (size_t)chosen[r] * WIDTH, WIDTH * sizeof(float));
}
/** Back to their places, zeros between them. */
static void spread_rows(float *x, int rows) {
  for (int t = rows - 1, r = chosen_count - 1; t >= 0; t--)
    if (r >= 0 && chosen[r] == t) memmove(x + (size_t)t * WIDTH, x + (size_t)r-- * WIDTH, WIDTH * sizeof(float));
    else memset(x + (size_t)t * WIDTH, 0, WIDTH * sizeof(float));
}

/** Leaves in `logits` what each of the chosen rows would go on with, and all that the way back needs. */
static void read_batch(const Batch *b, const Model *m) {
  int n = b->tokens;
  choose(b);
  FOR_ALL for (int t = 0; t < n; t++) memcpy(stream + (size_t)t * WIDTH, m->words + (size_t)b->ids[t] * WIDTH, WIDTH * sizeof(float));
  for (int l = 0; l < LAYERS; l++) {
    const Layer *w = &m->layers[l];
    const Kept *k = &kept[l];
    memcpy(k->x, stream, (size_t)n * WIDTH * sizeof(float));
    norm(n, stream, w->attn_norm, k->scale1, k->y1);
    forward_product(n, WIDTH, WIDTH, k->y1, w->q, k->q);
    forward_product(n, WIDTH, WIDTH, k->y1, w->k, k->k);
    forward_product(n, WIDTH, WIDTH, k->y1, w->v, k->v);
    turn(b, k->q, 1);
    turn(b, k->k, 1);
    attend(b, k);
    if (l == LAYERS - 1) {
      gather_rows(k->seen);
      gather_rows(stream);
      n = chosen_count;
    }
    multiply(n, WIDTH, WIDTH, k->seen, WIDTH, 1, w->o, WIDTH, 1, stream, WIDTH);
    memcpy(k->x2, stream, (size_t)n * WIDTH * sizeof(float));
    norm(n, stream, w->ffn_norm, k->scale2, k->y2);
    forward_product(n, WIDTH, INNER, k->y2, w->gate, k->gate);
    forward_product(n, WIDTH, INNER, k->y2, w->up, k->up);
    FOR_ALL for (int i = 0; i < n * INNER; i++) k->inner[i] = k->gate[i] / (1.0f + expf(-k->gate[i])) * k->up[i];
    multiply(n, WIDTH, INNER, k->inner, INNER, 1, w->down, WIDTH, 1, stream, WIDTH);
  }
  norm(n, stream, m->norm, last_scale, last);
  memset(logits, 0, (size_t)n * VOCAB * sizeof(float));
  multiply(n, VOCAB, WIDTH, last, WIDTH, 1, m->words, 1, WIDTH, logits, VOCAB);
}

/** The loss of a batch per learned token, and its slope into `g`. */
static float learn(const Batch *b, const Model *m, Model *g) {
  static float losses[STEP_TOKENS_MAX];
  read_batch(b, m);
  int n = chosen_count;
  FOR_ALL for (int r = 0; r < n; r++) {
    float *row = logits + (size_t)r * VOCAB, most = row[0], sum = 0;
    const int wanted = b->targets[chosen[r]];
    const float share = 1.0f / (float)n, own = row[wanted];
    for (int i = 1; i < VOCAB; i++) most = row[i] > most ? row[i] : most;
    for (int i = 0; i < VOCAB; i++) row[i] = expf(row[i] - most);
    for (int i = 0; i < VOCAB; i++) sum += row[i];
    losses[r] = (logf(sum) + most - own) * share;
    const float scale = share / sum;
    for (int i = 0; i < VOCAB; i++) row[i] *= scale;
    row[wanted] -= share;
  }
  float loss = 0;
  for (int r = 0; r < n; r++) loss += losses[r];

  memset(d_y, 0, (size_t)n * WIDTH * sizeof(float));
  multiply(n, WIDTH, VOCAB, logits, VOCAB, 1, m->words, WIDTH, 1, d_y, WIDTH);
  multiply(VOCAB, WIDTH, n, logits, 1, VOCAB, last, WIDTH, 1, g->words, WIDTH);
  memset(d_stream, 0, (size_t)n * WIDTH * sizeof(float));
  norm_back(n, stream, m->norm, last_scale, d_y, d_stream, g->norm);
  for (int l = LAYERS - 1; l >= 0; l--) {
    const Layer *w = &m->layers[l], *dw = &g->layers[l];
    const Kept *k = &kept[l];
    memset(d_inner, 0, (size_t)n * INNER * sizeof(float));
    backward_product(n, INNER, WIDTH, k->inner, w->down, d_stream, d_inner, dw->down);
    FOR_ALL for (int i = 0; i < n * INNER; i++) {
      const float x = k->gate[i], open = 1.0f / (1.0f + expf(-x));
      d_up[i] = d_inner[i] * x * open;
      d_gate[i] = d_inner[i] * k->up[i] * open * (1.0f + x * (1.0f - open));
    }
    memset(d_y, 0, (size_t)n * WIDTH * sizeof(float));
    backward_product(n, WIDTH, INNER, k->y2, w->gate, d_gate, d_y, dw->gate);
    backward_product(n, WIDTH, INNER, k->y2, w->up, d_up, d_y, dw->up);
    norm_back(n, k->x2, w->ffn_norm, k->scale2, d_y, d_stream, dw->ffn_norm);
    memset(d_seen, 0, (size_t)n * WIDTH * sizeof(float));
    backward_product(n, WIDTH, WIDTH, k->seen, w->o, d_stream, d_seen, dw->o);
    if (l == LAYERS - 1) {
      n = b->tokens;
      spread_rows(d_seen, n);
      spread_rows(d_stream, n);
    }
    attend_back(b, k);
    turn(b, d_q, -1);
    turn(b, d_k, -1);
    memset(d_y, 0, (size_t)n * WIDTH * sizeof(float));
    backward_product(n, WIDTH, WIDTH, k->y1, w->q, d_q, d_y, dw->q);
    backward_product(n, WIDTH, WIDTH, k->y1, w->k, d_k, d_y, dw->k);
    backward_product(n, WIDTH, WIDTH, k->y1, w->v, d_v, d_y, dw->v);
    norm_back(n, k->x, w->attn_norm, k->scale1, d_y, d_stream, dw->attn_norm);
  }
  for (int t = 0; t < n; t++)
    for (int i = 0; i < WIDTH; i++) g->words[(size_t)b->ids[t] * WIDTH + i] += d_stream[(size_t)t * WIDTH + i];
  return loss;
}

// ─── The optimizer: Muon for the matrices of the layers, Adam for words and norms ───────────────────────────────────────

/** The nearest matrix whose singular values are all about one (Newton and Schulz, five rounds), in place. */
static void orthogonalise(float *x, int rows, int columns) {
  static float *wide, *square, *squared, *next;
  if (!wide) wide = floats(WIDTH * INNER), square = floats(WIDTH * WIDTH), squared = floats(WIDTH * WIDTH), next = floats(WIDTH * INNER);
  const int small = least(rows, columns), large = rows + columns - small, upright = rows > columns;
  double sum = 0;
  for (int i = 0; i < rows * columns; i++) sum += (double)x[i] * x[i];
  const float scale = (float)(1.0 / (sqrt(sum) + 1e-7));
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) wide[upright ? c * large + r : r * large + c] = x[r * columns + c] * scale;
  for (int round = 0; round < 5; round++) {
    memset(square, 0, sizeof(float) * small * small);
    memset(squared, 0, sizeof(float) * small * small);
    multiply(small, small, large, wide, large, 1, wide, 1, large, square, small);
    multiply(small, small, small, square, small, 1, square, small, 1, squared, small);
    for (int i = 0; i < small * small; i++) squared[i] = -4.7750f * square[i] + 2.0315f * squared[i];
    for (int i = 0; i < small * large; i++) next[i] = 3.4445f * wide[i];
    multiply(small, large, small, squared, small, 1, wide, large, 1, next, large);
    float *swap = wide;
    wide = next, next = swap;
  }
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) x[r * columns + c] = wide[upright ? c * large + r : r * large + c];
}

static void update(float *all, float *slope, int step, int steps) {
  static float *first, *second, *change;
  if (!first) first = floats(parameters), second = floats(parameters), change = floats(WIDTH * INNER);
  double sum = 0;
  for (size_t i = 0; i < parameters; i++) sum += (double)slope[i] * slope[i];
  const float clip = sum > CLIP * CLIP ? CLIP / (float)sqrt(sum) : 1.0f;
  const double part = step < WARM_STEPS ? 0 : (double)(step - WARM_STEPS) / (steps - WARM_STEPS);
  const double rate = RATE * (step < WARM_STEPS ? (double)step / WARM_STEPS : LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + cos(M_PI * part)));
  for (int n = 0; n < PARTS; n++) {
    const Part *p = &parts[n];
    float *w = all + p->at, *g = slope + p->at, *m = first + p->at, *v = second + p->at;
    const size_t count = p->rows * p->columns;
    if (n > 1 && p->columns > 1) {
      for (size_t i = 0; i < count; i++) {
        m[i] = MOMENTUM * m[i] + (1 - MOMENTUM) * g[i] * clip;
        change[i] = MOMENTUM * m[i] + (1 - MOMENTUM) * g[i] * clip;
      }
      orthogonalise(change, (int)p->rows, (int)p->columns);
      // So the change is of the size Adam's would be.
      const float size = 0.2f * sqrtf((float)(p->rows > p->columns ? p->rows : p->columns));
      for (size_t i = 0; i < count; i++) w[i] -= (float)rate * (size * change[i] + DECAY * w[i]);
    } else {
      const float one = 1 - powf(ADAM_FIRST, (float)step), two = 1 - powf(ADAM_SECOND, (float)step);
      for (size_t i = 0; i < count; i++) {
        const float d = g[i] * clip;
        m[i] = ADAM_FIRST * m[i] + (1 - ADAM_FIRST) * d;
        v[i] = ADAM_SECOND * v[i] + (1 - ADAM_SECOND) * d * d;
        w[i] -= (float)rate * WORD_RATE * (m[i] / one) / (sqrtf(v[i] / two) + 1e-8f);
      }
    }
  }
}

// ─── Conversations ──────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  int length;
  uint16_t *ids;
  uint8_t *learned;
} Talk;

static void need(size_t got, size_t wanted, const char *path) {
  if (got == wanted) return;
  fprintf(stderr, "%s ends too early\n", path);
  exit(1);
}

static Talk *read_talks(const char *path, int *count) {
  FILE *file = fopen(path, "rb");
  if (!file) perror(path), exit(1);
  int32_t number;
  need(fread(&number, 4, 1, file), 1, path);
  Talk *talks = memory(sizeof(Talk) * (size_t)number);
  for (int i = 0; i < number; i++) {
    int32_t length;
    need(fread(&length, 4, 1, file), 1, path);
    if (length < 2 || length > LENGTH_MAX) fprintf(stderr, "%s: conversation %d has %d tokens; 2 to %d may be\n", path, i, length, LENGTH_MAX), exit(1);
    talks[i] = (Talk){length, memory((size_t)length * 2), memory((size_t)length)};
    need(fread(talks[i].ids, 2, (size_t)length, file), (size_t)length, path);
    need(fread(talks[i].learned, 1, (size_t)length, file), (size_t)length, path);
    for (int t = 0; t < length; t++)
      if (talks[i].ids[t] >= VOCAB) fprintf(stderr, "%s: token %d is none of %d\n", path, talks[i].ids[t], VOCAB), exit(1);
  }
  fclose(file);
  *count = number;
  return talks;
}

static void append(Batch *b, const Talk *talk) {
  b->start[b->texts++] = b->tokens;
  for (int t = 0; t + 1 < talk->length; t++, b->tokens++) {
    b->ids[b->tokens] = talk->ids[t], b->targets[b->tokens] = talk->ids[t + 1];
    b->position[b->tokens] = t, b->learned[b->tokens] = talk->learned[t + 1];
  }
  b->start[b->texts] = b->tokens;
}

static void gather(Batch *b, const Talk *talks, int count, int *next) {
  for (b->tokens = b->texts = 0; b->tokens < STEP_TOKENS && *next < count; (*next)++) append(b, &talks[*next]);
}

/** As many as `gather` makes of all conversations. */
static int count_steps(const Talk *talks, int count) {
  int steps = 0, tokens = STEP_TOKENS;
  for (int i = 0; i < count; i++) {
    if (tokens >= STEP_TOKENS) steps++, tokens = 0;
    tokens += talks[i].length - 1;
  }
  return steps;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: train TOKENS FIRST WEIGHTS\n"), 2;
  omp_set_num_threads(THREADS);
  layout();
  prepare();
  int talk_count, next = 0;
  Talk *talks = read_talks(argv[1], &talk_count);
  const int steps = count_steps(talks, talk_count);
  float *all = floats(parameters), *slope = floats(parameters);
  FILE *begun = fopen(argv[2], "rb");
  if (!begun) return perror(argv[2]), 1;
  need(fread(all, sizeof(float), parameters, begun), parameters, argv[2]);
  fclose(begun);
  Model m = view(all), g = view(slope);
  const size_t n = STEP_TOKENS_MAX;
  Batch b = {.ids = memory(4 * n), .targets = memory(4 * n), .position = memory(4 * n), .learned = memory(n), .start = memory(4 * (n + 1))};
  const double began = now();
  double said = began, tokens = 0, sum = 0;
  int summed = 0;
  for (int step = 1; step <= steps; step++) {
    gather(&b, talks, talk_count, &next);
    memset(slope, 0, parameters * sizeof(float));
    sum += learn(&b, &m, &g), summed++;
    tokens += b.tokens;
    update(all, slope, step, steps);
    if (now() - said > SAY_EVERY_S || step == steps) {
      said = now();
      printf("step %d/%d  loss %.4f  %.0f tokens/s  %.1f min left\n", step, steps, sum / summed, tokens / (said - began), (said - began) / step * (steps - step) / 60);
      fflush(stdout);
      sum = 0, summed = 0;
    }
  }
  FILE *out = fopen(argv[3], "wb");
  if (!out || fwrite(all, sizeof(float), parameters, out) != parameters || fclose(out)) return perror(argv[3]), 1;
  printf("%zu parameters\n", parameters);
  return 0;
}

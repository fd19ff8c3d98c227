// The model of bkg-mini as training needs it: what it says to a batch, how wrong that is, and the slope of every weight.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "train.h"

Part parts[PARTS];
size_t parameters;

void layout(void) {
  const size_t shapes[LAYER_PARTS][2] = {{WIDTH, 1}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, WIDTH}, {WIDTH, 1}, {WIDTH, INNER}, {WIDTH, INNER}, {INNER, WIDTH}};
  const size_t first[FIRST_PARTS][2] = {{VOCAB, WIDTH}, {VOCAB, WIDTH}, {WIDTH, 1}};
  for (int n = 0; n < PARTS; n++) {
    const size_t *shape = n < FIRST_PARTS ? first[n] : shapes[(n - FIRST_PARTS) % LAYER_PARTS];
    parts[n] = (Part){parameters, shape[0], shape[1]};
    parameters += shape[0] * shape[1];
  }
}

Model view(float *all) {
  Model m = {.words = all + parts[0].at, .said = all + parts[1].at, .norm = all + parts[2].at};
  for (int l = 0; l < LAYERS; l++) {
    float *p[LAYER_PARTS];
    for (int i = 0; i < LAYER_PARTS; i++) p[i] = all + parts[FIRST_PARTS + LAYER_PARTS * l + i].at;
    m.layers[l] = (Layer){p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]};
  }
  return m;
}

void *memory(size_t bytes) {
  void *found = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!found) {
    fprintf(stderr, "no memory for %zu bytes\n", bytes);
    exit(1);
  }
  memset(found, 0, bytes);
  return found;
}
float *floats(size_t count) { return memory(count * sizeof(float)); }

// ─── What the way back needs ────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  float *x, *scale1, *y1, *q, *k, *v, *seen, *x2, *scale2, *y2, *gate, *up, *inner;
} Kept;

struct Work {
  Kept layers[LAYERS];
  float *stream, *last_scale, *last, *logits;
  /** The rows of the batch whose next token is learned; past the last attention only they go on. */
  int chosen[PIECE_TOKENS_MAX], chosen_count;
};

Work *make_work(void) {
  const size_t n = PIECE_TOKENS_MAX;
  Work *work = memory(sizeof(Work));
  work->stream = floats(n * WIDTH), work->last_scale = floats(n), work->last = floats(n * WIDTH), work->logits = floats(n * VOCAB);
  for (int l = 0; l < LAYERS; l++)
    work->layers[l] = (Kept){floats(n * WIDTH), floats(n), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n * WIDTH), floats(n), floats(n * WIDTH),
                             floats(n * INNER), floats(n * INNER), floats(n * INNER)};
  return work;
}

static _Thread_local float *d_stream, *d_y, *d_q, *d_k, *d_v, *d_seen, *d_gate, *d_up, *d_inner;
static _Thread_local float cosines[LENGTH_MAX][HEAD_WIDTH / 2], sines[LENGTH_MAX][HEAD_WIDTH / 2];

void prepare(void) {
  const size_t n = PIECE_TOKENS_MAX;
  float **wide[] = {&d_stream, &d_y, &d_q, &d_k, &d_v, &d_seen}, **inner[] = {&d_gate, &d_up, &d_inner};
  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) *wide[i] = floats(n * WIDTH);
  for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) *inner[i] = floats(n * INNER);
  for (int p = 0; p < LENGTH_MAX; p++)
    for (int i = 0; i < HEAD_WIDTH / 2; i++) {
      const double angle = p * pow((double)ROPE_BASE, -2.0 * i / HEAD_WIDTH);
      cosines[p][i] = (float)cos(angle), sines[p][i] = (float)sin(angle);
    }
}

// ─── Its parts, there and back ──────────────────────────────────────────────────────────────────────────────────────────

/** y = x w (rows of x by [in][out]), or added to it. */
static void product(int rows, int in, int out, const float *x, const float *w, float *y, Into into) { multiply((Sizes){rows, out, in}, plain(x, in), plain(w, out), y, into); }

/** dx = dy w^T or added to it, and dw += x^T dy. */
static void product_back(int rows, int in, int out, const float *x, const float *w, const float *dy, float *dx, float *dw, Into into) {
  multiply((Sizes){rows, in, out}, plain(dy, out), turned(w, out), dx, into);
  multiply((Sizes){in, out, rows}, turned(x, in), plain(dy, out), dw, ADD);
}

static void norm(int rows, const float *x, const float *weight, float *scale, float *y) {
  for (int t = 0; t < rows; t++) {
    const float *from = x + (size_t)t * WIDTH;
    float *to = y + (size_t)t * WIDTH, sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += from[i] * from[i];
    const float s = scale[t] = 1.0f / sqrtf(sum / WIDTH + (float)EPSILON);
    for (int i = 0; i < WIDTH; i++) to[i] = from[i] * s * weight[i];
  }
}

/** dx += and dweight += of `norm`. */
static void norm_back(int rows, const float *x, const float *weight, const float *scale, const float *dy, float *dx, float *dweight) {
  for (int t = 0; t < rows; t++) {
    const float *from = x + (size_t)t * WIDTH, *d = dy + (size_t)t * WIDTH, s = scale[t];
    float *to = dx + (size_t)t * WIDTH, along = 0;
    for (int i = 0; i < WIDTH; i++) along += d[i] * weight[i] * from[i];
    along *= s * s * s / WIDTH;
    for (int i = 0; i < WIDTH; i++) to[i] += d[i] * weight[i] * s - from[i] * along;
  }
  for (int from = 0; from < WIDTH; from += LANES)
    for (int t = 0; t < rows; t++)
      for (int i = from; i < from + LANES; i++) dweight[i] += dy[(size_t)t * WIDTH + i] * x[(size_t)t * WIDTH + i] * scale[t];
}

/** Rotary positions in llama.cpp's order, neighbours a pair; back with sign -1. */
static void rotate(const Batch *b, float *x, float sign) {
  for (int t = 0; t < b->tokens; t++) {
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

static void choose(const Batch *b, Work *work) {
  work->chosen_count = 0;
  for (int t = 0; t < b->tokens; t++)
    if (b->learned[t]) work->chosen[work->chosen_count++] = t;
}
/** The chosen rows of x, moved to its beginning. */
static void gather_rows(const Work *work, float *x) {
  for (int r = 0; r < work->chosen_count; r++) memmove(x + (size_t)r * WIDTH, x + (size_t)work->chosen[r] * WIDTH, WIDTH * sizeof(float));
}
/** Back to their places, zeros between them. */
static void spread_rows(const Work *work, float *x, int rows) {
  for (int t = rows - 1, r = work->chosen_count - 1; t >= 0; t--)
    if (r >= 0 && work->chosen[r] == t) memmove(x + (size_t)t * WIDTH, x + (size_t)r-- * WIDTH, WIDTH * sizeof(float));
    else memset(x + (size_t)t * WIDTH, 0, WIDTH * sizeof(float));
}

// ─── One step ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Leaves in `logits` what each of the chosen rows would go on with, and all that the way back needs. */
static void read_batch(const Batch *b, const Model *m, Work *work) {
  int n = b->tokens;
  float *stream = work->stream;
  choose(b, work);
  for (int t = 0; t < n; t++) memcpy(stream + (size_t)t * WIDTH, m->words + (size_t)b->ids[t] * WIDTH, WIDTH * sizeof(float));
  for (int l = 0; l < LAYERS; l++) {
    const Layer *w = &m->layers[l];
    const Kept *k = &work->layers[l];
    const int is_last = l == LAYERS - 1;
    const uint8_t *wanted = is_last ? b->learned : 0;
    memcpy(k->x, stream, (size_t)n * WIDTH * sizeof(float));
    norm(n, stream, w->attn_norm, k->scale1, k->y1);
    product(n, WIDTH, WIDTH, k->y1, w->q, k->q, SET);
    product(n, WIDTH, WIDTH, k->y1, w->k, k->k, SET);
    product(n, WIDTH, WIDTH, k->y1, w->v, k->v, SET);
    rotate(b, k->q, 1);
    rotate(b, k->k, 1);
    attend(b, (Heads){k->q, k->k, k->v, k->seen}, wanted);
    if (is_last) {
      gather_rows(work, k->seen);
      gather_rows(work, stream);
      n = work->chosen_count;
    }
    product(n, WIDTH, WIDTH, k->seen, w->o, stream, ADD);
    memcpy(k->x2, stream, (size_t)n * WIDTH * sizeof(float));
    norm(n, stream, w->ffn_norm, k->scale2, k->y2);
    product(n, WIDTH, INNER, k->y2, w->gate, k->gate, SET);
    product(n, WIDTH, INNER, k->y2, w->up, k->up, SET);
    for (int i = 0; i < n * INNER; i++) k->inner[i] = k->gate[i] / (1.0f + expf(-k->gate[i])) * k->up[i];
    product(n, INNER, WIDTH, k->inner, w->down, stream, ADD);
  }
  norm(n, stream, m->norm, work->last_scale, work->last);
  multiply((Sizes){n, VOCAB, WIDTH}, plain(work->last, WIDTH), turned(m->said, WIDTH), work->logits, SET);
}

/** Turns `logits` into their slopes; returns the loss. */
static float judge(const Batch *b, float weight, const Work *work) {
  float loss = 0;
  for (int r = 0; r < work->chosen_count; r++) {
    float *row = work->logits + (size_t)r * VOCAB, most = row[0], sum = 0;
    const int wanted = b->targets[work->chosen[r]];
    const float share = b->learned[work->chosen[r]] / weight, own = row[wanted];
    for (int i = 1; i < VOCAB; i++) most = row[i] > most ? row[i] : most;
    for (int i = 0; i < VOCAB; i++) row[i] = expf(row[i] - most);
    for (int i = 0; i < VOCAB; i++) sum += row[i];
    loss += (logf(sum) + most - own) * share;
    const float scale = share / sum;
    for (int i = 0; i < VOCAB; i++) row[i] *= scale;
    row[wanted] -= share;
  }
  return loss;
}

float there(const Batch *b, float weight, const Model *m, Work *work) {
  read_batch(b, m, work);
  return judge(b, weight, work);
}

void back(const Batch *b, const Model *m, Work *work, Model *g) {
  int n = work->chosen_count;
  product(n, VOCAB, WIDTH, work->logits, m->said, d_y, SET);
  multiply((Sizes){VOCAB, WIDTH, n}, turned(work->logits, VOCAB), plain(work->last, WIDTH), g->said, ADD);
  memset(d_stream, 0, (size_t)n * WIDTH * sizeof(float));
  norm_back(n, work->stream, m->norm, work->last_scale, d_y, d_stream, g->norm);
  for (int l = LAYERS - 1; l >= 0; l--) {
    const Layer *w = &m->layers[l], *dw = &g->layers[l];
    const Kept *k = &work->layers[l];
    const int is_last = l == LAYERS - 1;
    const uint8_t *wanted = is_last ? b->learned : 0;
    product_back(n, INNER, WIDTH, k->inner, w->down, d_stream, d_inner, dw->down, SET);
    for (int i = 0; i < n * INNER; i++) {
      const float x = k->gate[i], open = 1.0f / (1.0f + expf(-x));
      d_up[i] = d_inner[i] * x * open;
      d_gate[i] = d_inner[i] * k->up[i] * open * (1.0f + x * (1.0f - open));
    }
    product_back(n, WIDTH, INNER, k->y2, w->gate, d_gate, d_y, dw->gate, SET);
    product_back(n, WIDTH, INNER, k->y2, w->up, d_up, d_y, dw->up, ADD);
    norm_back(n, k->x2, w->ffn_norm, k->scale2, d_y, d_stream, dw->ffn_norm);
    product_back(n, WIDTH, WIDTH, k->seen, w->o, d_stream, d_seen, dw->o, SET);
    if (is_last) {
      n = b->tokens;
      spread_rows(work, d_seen, n);
      spread_rows(work, d_stream, n);
    }
    attend_back(b, (Heads){k->q, k->k, k->v, k->seen}, (Heads){d_q, d_k, d_v, d_seen}, wanted);
    rotate(b, d_q, -1);
    rotate(b, d_k, -1);
    product_back(n, WIDTH, WIDTH, k->y1, w->q, d_q, d_y, dw->q, SET);
    product_back(n, WIDTH, WIDTH, k->y1, w->k, d_k, d_y, dw->k, ADD);
    product_back(n, WIDTH, WIDTH, k->y1, w->v, d_v, d_y, dw->v, ADD);
    norm_back(n, k->x, w->attn_norm, k->scale1, d_y, d_stream, dw->attn_norm);
  }
  for (int t = 0; t < n; t++)
    for (int i = 0; i < WIDTH; i++) g->words[(size_t)b->ids[t] * WIDTH + i] += d_stream[(size_t)t * WIDTH + i];
}

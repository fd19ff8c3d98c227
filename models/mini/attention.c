// Attention, there and back. Conversations lie one behind the other without padding; each token sees those of its own, up to itself.
#include <math.h>
#include <string.h>
#include "train.h"

enum { HEAD_LANES = HEAD_WIDTH / LANES };
_Static_assert(HEAD_WIDTH % LANES == 0 && LENGTH_MAX % LANES == 0, "a head is of whole lanes");

/** One head of a text, [length][HEAD_WIDTH], in columns: all numbers of one place of LANES tokens stand together. */
static void in_columns(const float *x, int length, Lanes *to) {
  float *flat = (float *)to;
  for (int s = 0; s < length; s++)
    for (int i = 0; i < HEAD_WIDTH; i++) flat[((size_t)(s / LANES) * HEAD_WIDTH + i) * LANES + s % LANES] = x[(size_t)s * WIDTH + i];
}

/** to[0..count) = own times each row in `columns`; up to a whole number of LANES is written. */
static void dots(const float *own, const Lanes *columns, int count, float *to) {
  for (int from = 0; from < count; from += LANES, columns += HEAD_WIDTH) {
    Lanes one = {0}, two = {0}, three = {0}, four = {0};
    for (int i = 0; i < HEAD_WIDTH; i += 4) {
      one += own[i] * columns[i];
      two += own[i + 1] * columns[i + 1];
      three += own[i + 2] * columns[i + 2];
      four += own[i + 3] * columns[i + 3];
    }
    *(Lanes *)(to + from) = (one + two) + (three + four);
  }
}

/** p[0..t] = how much token t looks at each token up to itself. */
static void look(const float *q, const Lanes *keys, int t, float *p) {
  dots(q, keys, t + 1, p);
  const float part = 1.0f / sqrtf(HEAD_WIDTH);
  float most = p[0], sum = 0;
  for (int s = 1; s <= t; s++) most = p[s] > most ? p[s] : most;
  for (int s = 0; s <= t; s++) p[s] = expf((p[s] - most) * part);
  for (int s = 0; s <= t; s++) sum += p[s];
  const float share = 1.0f / sum;
  for (int s = 0; s <= t; s++) p[s] *= share;
}

void attend(const Batch *b, Heads h, const uint8_t *wanted) {
  static _Thread_local Lanes *keys;
  if (!keys) keys = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX);
  float p[LENGTH_MAX];
  for (int job = 0; job < b->texts * HEADS; job++) {
    const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
    const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
    in_columns(h.k + at, length, keys);
    for (int t = 0; t < length; t++) {
      if (wanted && !wanted[from + t]) continue;
      look(h.q + at + (size_t)t * WIDTH, keys, t, p);
      Lanes sum[HEAD_LANES] = {0};
      for (int s = 0; s <= t; s++) {
        const Lanes *v = (const Lanes *)(h.v + at + (size_t)s * WIDTH);
        for (int i = 0; i < HEAD_LANES; i++) sum[i] += p[s] * v[i];
      }
      memcpy(h.seen + at + (size_t)t * WIDTH, sum, sizeof sum);
    }
  }
}

void attend_back(const Batch *b, Heads h, Heads d, const uint8_t *wanted) {
  memset(d.q, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d.k, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d.v, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  static _Thread_local Lanes *keys, *values;
  if (!keys) keys = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX), values = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX);
  float p[LENGTH_MAX], dp[LENGTH_MAX];
  for (int job = 0; job < b->texts * HEADS; job++) {
    const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
    const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
    in_columns(h.k + at, length, keys);
    in_columns(h.v + at, length, values);
    for (int t = 0; t < length; t++) {
      if (wanted && !wanted[from + t]) continue;
      const float *q = h.q + at + (size_t)t * WIDTH, *d_out = d.seen + at + (size_t)t * WIDTH;
      look(q, keys, t, p);
      dots(d_out, values, t + 1, dp);
      float mean = 0;
      for (int s = 0; s <= t; s++) mean += p[s] * dp[s];
      for (int s = 0; s <= t; s++) dp[s] = p[s] * (dp[s] - mean) / sqrtf(HEAD_WIDTH);
      Lanes own[HEAD_LANES], out[HEAD_LANES], dq[HEAD_LANES] = {0};
      memcpy(own, q, sizeof own);
      memcpy(out, d_out, sizeof out);
      for (int s = 0; s <= t; s++) {
        const size_t row = at + (size_t)s * WIDTH;
        const Lanes *key = (const Lanes *)(h.k + row);
        Lanes *dk = (Lanes *)(d.k + row), *dv = (Lanes *)(d.v + row);
        for (int i = 0; i < HEAD_LANES; i++) {
          dq[i] += dp[s] * key[i];
          dk[i] += dp[s] * own[i];
          dv[i] += p[s] * out[i];
        }
      }
      memcpy(d.q + at + (size_t)t * WIDTH, dq, sizeof dq);
    }
  }
}

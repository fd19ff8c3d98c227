// Attention, there and back. Conversations lie one behind the other without padding; each token sees those of its own, up to itself.
#include <math.h>
#include <string.h>
#include "train.h"

/** So many tokens look at once, and each number of a key or value that is read serves all of them. */
enum { TOGETHER = 4, HEAD_LANES = HEAD_WIDTH / LANES };
_Static_assert(HEAD_WIDTH % LANES == 0 && LENGTH_MAX % LANES == 0, "a head is of whole lanes");

/** Tokens that look, the last one the furthest; places without a token repeat the last one. */
typedef struct {
  int count, at[TOGETHER];
} Lookers;
typedef float Looks[TOGETHER][LENGTH_MAX];

/** The next of those `wanted` from `t` on; moves `t` behind them. */
static Lookers next_lookers(const uint8_t *wanted, int length, int *t) {
  Lookers found = {0};
  for (; *t < length && found.count < TOGETHER; (*t)++)
    if (!wanted || wanted[*t]) found.at[found.count++] = *t;
  for (int r = found.count; r < TOGETHER && found.count; r++) found.at[r] = found.at[found.count - 1];
  return found;
}

/** One head of a text, [length][HEAD_WIDTH], in columns: all numbers of one place of LANES tokens stand together. */
static void in_columns(const float *x, int length, Lanes *to) {
  float *flat = (float *)to;
  for (int s = 0; s < length; s++)
    for (int i = 0; i < HEAD_WIDTH; i++) flat[((size_t)(s / LANES) * HEAD_WIDTH + i) * LANES + s % LANES] = x[(size_t)s * WIDTH + i];
}

/** Products of each of the rows with `blocks` blocks of `columns`, which are to lie at `to`. */
static inline __attribute__((always_inline)) void dots_of(const float *const rows[TOGETHER], const Lanes *columns, const int blocks, Looks to, int from) {
  Lanes sum[TOGETHER][2] = {0};
  for (int i = 0; i < HEAD_WIDTH; i++)
    for (int r = 0; r < TOGETHER; r++)
      for (int n = 0; n < blocks; n++) sum[r][n] += rows[r][i] * columns[n * HEAD_WIDTH + i];
  for (int r = 0; r < TOGETHER; r++)
    for (int n = 0; n < blocks; n++) *(Lanes *)(to[r] + from + n * LANES) = sum[r][n];
}

/** to[r][0..count) = row r times each row in `columns`; up to a whole number of LANES is written. */
static void dots(const float *const rows[TOGETHER], const Lanes *columns, int count, Looks to) {
  int from = 0;
  for (; from + LANES < count; from += 2 * LANES, columns += 2 * HEAD_WIDTH) dots_of(rows, columns, 2, to, from);
  if (from < count) dots_of(rows, columns, 1, to, from);
}

/** p[r][0..t] = how much looker r, at t, looks at each token up to itself; zero behind it. */
static void look(const float *const q[TOGETHER], const Lanes *keys, const Lookers *who, Looks p) {
  const int last = who->at[TOGETHER - 1];
  dots(q, keys, last + 1, p);
  const float part = 1.0f / sqrtf(HEAD_WIDTH);
  for (int r = 0; r < TOGETHER; r++) {
    float *own = p[r], most = own[0], sum = 0;
    const int t = who->at[r];
    for (int s = 1; s <= t; s++) most = own[s] > most ? own[s] : most;
    for (int s = 0; s <= t; s++) own[s] = expf((own[s] - most) * part);
    for (int s = 0; s <= t; s++) sum += own[s];
    const float share = r < who->count ? 1.0f / sum : 0;
    for (int s = 0; s <= t; s++) own[s] *= share;
    for (int s = t + 1; s <= last; s++) own[s] = 0;
  }
}

void attend(const Batch *b, Heads h, const uint8_t *wanted) {
  static _Thread_local Lanes *keys;
  if (!keys) keys = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX);
  Looks p;
  for (int job = 0; job < b->texts * HEADS; job++) {
    const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
    const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
    in_columns(h.k + at, length, keys);
    int t = 0;
    for (Lookers who; who = next_lookers(wanted ? wanted + from : 0, length, &t), who.count > 0;) {
      const float *q[TOGETHER];
      for (int r = 0; r < TOGETHER; r++) q[r] = h.q + at + (size_t)who.at[r] * WIDTH;
      look(q, keys, &who, p);
      Lanes sum[TOGETHER][HEAD_LANES] = {0};
      for (int s = 0; s <= who.at[TOGETHER - 1]; s++) {
        const Lanes *v = (const Lanes *)(h.v + at + (size_t)s * WIDTH);
        for (int r = 0; r < TOGETHER; r++)
          for (int i = 0; i < HEAD_LANES; i++) sum[r][i] += p[r][s] * v[i];
      }
      for (int r = 0; r < who.count; r++) memcpy(h.seen + at + (size_t)who.at[r] * WIDTH, sum[r], sizeof sum[r]);
    }
  }
}

/** From `p` and the slopes of what was seen, `dp`: the slopes of the looks before they were shares. */
static void look_back(const Lookers *who, Looks p, Looks dp) {
  for (int r = 0; r < TOGETHER; r++) {
    float mean = 0;
    for (int s = 0; s <= who->at[TOGETHER - 1]; s++) mean += p[r][s] * dp[r][s];
    for (int s = 0; s <= who->at[TOGETHER - 1]; s++) dp[r][s] = p[r][s] * (dp[r][s] - mean) / sqrtf(HEAD_WIDTH);
  }
}

void attend_back(const Batch *b, Heads h, Heads d, const uint8_t *wanted) {
  memset(d.q, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d.k, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  memset(d.v, 0, (size_t)b->tokens * WIDTH * sizeof(float));
  static _Thread_local Lanes *keys, *values;
  if (!keys) keys = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX), values = memory(sizeof(float) * HEAD_WIDTH * LENGTH_MAX);
  Looks p, dp;
  for (int job = 0; job < b->texts * HEADS; job++) {
    const int from = b->start[job / HEADS], length = b->start[job / HEADS + 1] - from;
    const size_t at = (size_t)from * WIDTH + job % HEADS * HEAD_WIDTH;
    in_columns(h.k + at, length, keys);
    in_columns(h.v + at, length, values);
    int t = 0;
    for (Lookers who; who = next_lookers(wanted ? wanted + from : 0, length, &t), who.count > 0;) {
      const float *q[TOGETHER], *d_out[TOGETHER];
      Lanes own[TOGETHER][HEAD_LANES], out[TOGETHER][HEAD_LANES], dq[TOGETHER][HEAD_LANES] = {0};
      for (int r = 0; r < TOGETHER; r++) {
        const size_t row = at + (size_t)who.at[r] * WIDTH;
        q[r] = h.q + row, d_out[r] = d.seen + row;
        memcpy(own[r], q[r], sizeof own[r]);
        memcpy(out[r], d_out[r], sizeof out[r]);
      }
      look(q, keys, &who, p);
      dots(d_out, values, who.at[TOGETHER - 1] + 1, dp);
      look_back(&who, p, dp);
      for (int s = 0; s <= who.at[TOGETHER - 1]; s++) {
        const size_t row = at + (size_t)s * WIDTH;
        const Lanes *key = (const Lanes *)(h.k + row);
        Lanes *dk = (Lanes *)(d.k + row), *dv = (Lanes *)(d.v + row);
        for (int i = 0; i < HEAD_LANES; i++) {
          Lanes k_sum = dk[i], v_sum = dv[i];
          for (int r = 0; r < TOGETHER; r++) {
            dq[r][i] += dp[r][s] * key[i];
            k_sum += dp[r][s] * own[r][i];
            v_sum += p[r][s] * out[r][i];
          }
          dk[i] = k_sum, dv[i] = v_sum;
        }
      }
      for (int r = 0; r < who.count; r++) memcpy(d.q + at + (size_t)who.at[r] * WIDTH, dq[r], sizeof dq[r]);
    }
  }
}

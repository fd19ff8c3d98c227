// One change of all weights by their slopes: Muon for the matrices of the layers, Adam for words and norms.
#include <math.h>
#include <string.h>
#include "train.h"

#define RATE 8e-3
#define WARM_STEPS 60
/** What the rate falls to in the end. */
#define LAST_RATE 0.02
#define DECAY 0.05f
#define MOMENTUM 0.95f
/** A step's slope is cut to this length. */
#define CLIP 1.0f
#define ADAM_FIRST 0.9f
#define ADAM_SECOND 0.98f
#define ADAM_LEAST 1e-8f
/** Words and norms change faster by this. */
#define WORD_RATE 1.5f
/** Muon's changes are made as large as Adam's would be. */
#define LIKE_ADAM 0.2f
/** Newton and Schulz's rounds, with the factors of Muon's authors: they bring singular values near one quickly. */
#define ROUNDS 5
#define FACTOR_1 3.4445f
#define FACTOR_3 (-4.7750f)
#define FACTOR_5 2.0315f
#define LENGTH_LEAST 1e-7

/** The nearest matrix whose singular values are all about one, in place. */
static void orthogonalise(float *x, int rows, int columns) {
  static _Thread_local float *wide, *square, *squared, *next;
  if (!wide) wide = floats(WIDTH * INNER), square = floats(WIDTH * WIDTH), squared = floats(WIDTH * WIDTH), next = floats(WIDTH * INNER);
  const int upright = rows > columns, small = upright ? columns : rows, large = upright ? rows : columns;
  double sum = 0;
  for (int i = 0; i < rows * columns; i++) sum += (double)x[i] * x[i];
  const float scale = (float)(1.0 / (sqrt(sum) + LENGTH_LEAST));
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) wide[upright ? c * large + r : r * large + c] = x[r * columns + c] * scale;
  for (int round = 0; round < ROUNDS; round++) {
    multiply((Sizes){small, small, large}, plain(wide, large), turned(wide, large), square, SET);
    multiply((Sizes){small, small, small}, plain(square, small), plain(square, small), squared, SET);
    for (int i = 0; i < small * small; i++) squared[i] = FACTOR_3 * square[i] + FACTOR_5 * squared[i];
    for (int i = 0; i < small * large; i++) next[i] = FACTOR_1 * wide[i];
    multiply((Sizes){small, large, small}, plain(squared, small), plain(wide, large), next, ADD);
    float *swap = wide;
    wide = next, next = swap;
  }
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) x[r * columns + c] = wide[upright ? c * large + r : r * large + c];
}

/** `first` and `second`: means of slopes and of their squares over the steps so far. */
typedef struct {
  float *w, *slope, *first, *second;
  size_t rows, columns;
} Weights;

static void muon(Weights p, float rate) {
  static _Thread_local float *change;
  if (!change) change = floats(WIDTH * INNER);
  const size_t count = p.rows * p.columns;
  for (size_t i = 0; i < count; i++) {
    p.first[i] = MOMENTUM * p.first[i] + (1 - MOMENTUM) * p.slope[i];
    change[i] = MOMENTUM * p.first[i] + (1 - MOMENTUM) * p.slope[i];
  }
  orthogonalise(change, (int)p.rows, (int)p.columns);
  const float size = LIKE_ADAM * sqrtf((float)(p.rows > p.columns ? p.rows : p.columns));
  for (size_t i = 0; i < count; i++) p.w[i] -= rate * (size * change[i] + DECAY * p.w[i]);
}

static void adam(Weights p, float rate, int step) {
  const float one = 1 - powf(ADAM_FIRST, (float)step), two = 1 - powf(ADAM_SECOND, (float)step);
  for (size_t i = 0; i < p.rows * p.columns; i++) {
    const float d = p.slope[i];
    p.first[i] = ADAM_FIRST * p.first[i] + (1 - ADAM_FIRST) * d;
    p.second[i] = ADAM_SECOND * p.second[i] + (1 - ADAM_SECOND) * d * d;
    p.w[i] -= rate * WORD_RATE * (p.first[i] / one) / (sqrtf(p.second[i] / two) + ADAM_LEAST);
  }
}

void update(float *all, float *slope, int step, int steps) {
  static float *first, *second;
  if (!first) first = floats(parameters), second = floats(parameters);
  double sum = 0;
  for (size_t i = 0; i < parameters; i++) sum += (double)slope[i] * slope[i];
  const float cut = sum > CLIP * CLIP ? CLIP / (float)sqrt(sum) : 1.0f;
  for (size_t i = 0; i < parameters; i++) slope[i] *= cut;
  const double part = step <= WARM_STEPS ? 0 : (double)(step - WARM_STEPS) / (steps - WARM_STEPS);
  const float rate = (float)(RATE * (step < WARM_STEPS ? (double)step / WARM_STEPS : LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + cos(M_PI * part))));
#pragma omp parallel for schedule(dynamic)
  for (int n = 0; n < PARTS; n++) {
    const Part *p = &parts[n];
    const Weights own = {all + p->at, slope + p->at, first + p->at, second + p->at, p->rows, p->columns};
    // Norms have one column.
    if (n >= FIRST_PARTS && p->columns > 1) muon(own, rate);
    else adam(own, rate, step);
  }
}

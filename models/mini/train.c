// Trains bkg-mini: a llama of a million parameters, on the CPU; from the same files the same bytes on the same machine.
//
//   train TOKENS FIRST WEIGHTS
//
// TOKENS  (written by convert.py) int32 count; then per conversation int32 length, length * uint16 token, length * uint8: how much is it learned?
//         They are read once, in their order.
// FIRST   the weights to begin with, and
// WEIGHTS those learned: float32, in the order of `layout`; matrices as [in][out].
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "train.h"

#define SAY_EVERY_S 15

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

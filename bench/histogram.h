/* bench/histogram.h: log-linear histogram of latencies.
 *
 * Why:    percentiles of millions of values in a few kilobytes, each within 1/32 of its true value.
 * Shape:  values below 64 have a bucket each; above, each power of two is cut into 32.
 * Thread: one.
 * Source: the idea of HdrHistogram (Tene).
 */
#ifndef PARLEY_BENCH_HISTOGRAM_H
#define PARLEY_BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 5, HISTOGRAM_BUCKET_COUNT = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_BUCKET_COUNT];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The least upper bound of a bucket that at least `fraction` (0..1) of the values do not exceed; 0 when empty. */
uint64_t histogram_at(const struct histogram *h, double fraction);

#endif

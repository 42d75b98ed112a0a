#include "bench/histogram.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < 1u << (HISTOGRAM_SUB_BITS + 1))
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

static uint64_t top_of(unsigned bucket)
{
    if (bucket < 1u << (HISTOGRAM_SUB_BITS + 1))
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t first = (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) << shift;
    return first + ((uint64_t)1 << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->buckets[bucket_of(value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_at(const struct histogram *h, double fraction)
{
    uint64_t seen = 0, want = (uint64_t)((double)h->count * fraction);
    if (want == 0)
        want = h->count ? 1 : 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKET_COUNT && want; b++) {
        seen += h->buckets[b];
        if (seen >= want)
            return top_of(b) < h->max ? top_of(b) : h->max;
    }
    return 0;
}

/* tests/lib/step_file.h: a file layer over another one that stops at the n-th change, and stays so.
 *
 * Why:    what changes files must be able to end between any two changes. Shape: changes are counted: creating, writing,
 *         syncing, renaming, unlinking, making a folder. At the n-th `stopped` is called (a simulated power cut, say), and
 *         from it on every call fails with -PARLEY_ERR_IO.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_LIB_STEP_FILE_H
#define PARLEY_TESTS_LIB_STEP_FILE_H

#include "storage/file.h"

struct step_file {
    struct file_layer base; /* first: the seam's pointer is ours */
    struct file_layer *inner;
    uint64_t stop_at; /* 0: never */
    uint64_t steps;   /* so far */
    void (*stopped)(void *owner);
    void *owner;
};

void step_file_init(struct step_file *step, struct file_layer *inner, uint64_t stop_at,
                    void (*stopped)(void *owner), void *owner);
bool step_file_has_stopped(const struct step_file *step);

#endif

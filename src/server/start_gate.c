#include "src/server/start_gate.h"

void start_gate_init(struct start_gate *gate, uint32_t count)
{
    *gate = (struct start_gate){.count = count};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void start_gate_dispose(struct start_gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

static void note(struct start_gate *gate, int err)
{
    if (!gate->err)
        gate->err = err;
    pthread_cond_broadcast(&gate->changed);
}

int start_gate_arrive(struct start_gate *gate, int err)
{
    pthread_mutex_lock(&gate->lock);
    uint32_t step = gate->step;
    gate->arrived++;
    note(gate, err);
    while (gate->step == step && !gate->err)
        pthread_cond_wait(&gate->changed, &gate->lock);
    int first = gate->err;
    pthread_mutex_unlock(&gate->lock);
    return first;
}

int start_gate_wait(struct start_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->arrived < gate->count && !gate->err)
        pthread_cond_wait(&gate->changed, &gate->lock);
    int first = gate->err;
    pthread_mutex_unlock(&gate->lock);
    return first;
}

int start_gate_open(struct start_gate *gate, int err)
{
    pthread_mutex_lock(&gate->lock);
    gate->arrived = 0;
    gate->step++;
    note(gate, err);
    int first = gate->err;
    pthread_mutex_unlock(&gate->lock);
    return first;
}

/* The simulator's inner loop in C, to measure what numba loses: the algorithm, packed rows and
 * random streams of common/tabular/lanes.py, for one run and one thread.
 * Built by benchmarks/tabular_simulation.py, with -DSLOTS=<places of a packed row>. */

#include <stdint.h>
#include <string.h>

enum { LANES = 16, BATCH = 4096, LINE = 16, WIDTH = (2 * SLOTS + 2 + LINE - 1) / LINE * LINE };

static inline uint64_t derive(uint64_t key, uint64_t index) {
    uint64_t value = key + 0x9E3779B97F4A7C15u * (index + 1);
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

typedef struct {
    const uint32_t *row;
    uint64_t state;
} start;

/* Plays `count` episodes to their end and stores their returns; gives back the steps. */
static int64_t play(const uint32_t *policy_rows, const start *starts, int64_t count,
                    int64_t limit, double *returns) {
    const uint32_t *at[LANES];
    uint64_t state[LANES];
    double total[LANES];
    int64_t due[LANES], owner[LANES];
    int64_t active = count < LANES ? count : LANES, begun = active, steps = 0;
    for (int64_t lane = 0; lane < active; lane++) {
        at[lane] = starts[lane].row, state[lane] = starts[lane].state;
        total[lane] = 0.0, due[lane] = limit, owner[lane] = lane;
    }
    for (int64_t sweep = 1; active > 0; sweep++) {
        steps += active;
        for (int64_t lane = 0; lane < active;) {
            const uint32_t *row = at[lane];
            state[lane] = state[lane] * 6364136223846793005u + 1442695040888963407u;
            uint32_t draw = (uint32_t)(state[lane] >> 33);
            uint32_t place = 0;
            for (int i = 0; i < SLOTS; i++) place += row[i] <= draw;
            double reward;
            memcpy(&reward, row + WIDTH - 2, sizeof reward);
            double so_far = total[lane] + reward;
            if (place < SLOTS && sweep < due[lane]) {
                at[lane] = policy_rows + (uint64_t)row[SLOTS + place] * WIDTH;
                __builtin_prefetch(at[lane]);
                total[lane++] = so_far;
                continue;
            }
            returns[owner[lane]] = so_far;
            if (begun < count) {
                at[lane] = starts[begun].row, state[lane] = starts[begun].state;
                total[lane] = 0.0, due[lane] = sweep + limit, owner[lane++] = begun++;
                continue;
            }
            active--;
            at[lane] = at[active], state[lane] = state[active], total[lane] = total[active];
            due[lane] = due[active], owner[lane] = owner[active];
        }
    }
    return steps;
}

/* Adds the returns of pairs 0 .. n_pairs - 1, without their first rewards, to sums and squares. */
int64_t simulate(const uint32_t *rows, uint64_t key, int64_t n_pairs, int64_t episodes,
                 int64_t limit, double *sums, double *squares) {
    static start starts[BATCH];
    static double returns[BATCH];
    const int64_t total = n_pairs * episodes;
    int64_t steps = 0;
    uint64_t pair_key = 0;
    for (int64_t first = 0; first < total; first += BATCH) {
        const int64_t count = total - first < BATCH ? total - first : BATCH;
        int64_t pair = first / episodes, episode = first % episodes;
        for (int64_t i = 0; i < count; i++) {
            if (i == 0 || episode == 0) pair_key = derive(key, (uint64_t)pair);
            starts[i].row = rows + pair * WIDTH;
            starts[i].state = derive(pair_key, (uint64_t)episode);
            if (++episode == episodes) episode = 0, pair++;
        }
        steps += play(rows + n_pairs * WIDTH, starts, count, limit, returns);
        pair = first / episodes, episode = first % episodes;
        for (int64_t i = 0; i < count; i++) {
            sums[pair] += returns[i];
            squares[pair] += returns[i] * returns[i];
            if (++episode == episodes) episode = 0, pair++;
        }
    }
    return steps;
}

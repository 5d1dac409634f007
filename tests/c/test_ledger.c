#include "check.h"
#include "lr_ledger.h"

#include <stddef.h>

/* Scout's two kinds of layers at 32768 tokens, one slot: 12 full ones, 36 in chunks of 8192. */
static const lr_ledger_group SCOUT[] = {{32768, 12 * 4096, 0, LR_LEDGER_FULL, 0},
                                        {8704, 36 * 4096, 8192, LR_LEDGER_CHUNK, 0}};

static void test_one_sequence(void) {
    lr_ledger l;
    lr_ledger_reading r;
    uint64_t used[1], left;
    CHECK(lr_ledger_init(&l, SCOUT, 2, used, 1, 0) == LR_OK);
    CHECK(lr_ledger_add(&l, 0, 10000) == LR_OK && lr_ledger_until_full(&l, 0, &left) == LR_OK && left == 22768);
    CHECK(lr_ledger_read(&l, &r) == LR_OK);
    CHECK(r.tokens == 10000 && r.group_cells[0] == 10000 && r.group_cells[1] == 10000 - 8192);
    CHECK(r.bytes == 10000u * 12 * 4096 + 1808u * 36 * 4096 && r.until_full == 22768);
    CHECK(r.bytes_capacity == 32768ull * 12 * 4096 + 8704ull * 36 * 4096);
    CHECK(lr_ledger_add(&l, 0, 22769) == LR_FULL && used[0] == 10000);
    CHECK(lr_ledger_add(&l, 0, 22768) == LR_OK && lr_ledger_add(&l, 0, 1) == LR_FULL);
    CHECK(lr_ledger_add(&l, 0, UINT64_MAX) == LR_FULL);
    CHECK(lr_ledger_set(&l, 0, 5) == LR_OK && lr_ledger_read(&l, &r) == LR_OK);
    CHECK(r.tokens == 5 && r.high_water == 32768 && r.group_cells[1] == 5);
    CHECK(lr_ledger_set(&l, 0, 8192) == LR_OK && lr_ledger_read(&l, &r) == LR_OK && r.group_cells[1] == 8192);
    CHECK(lr_ledger_set(&l, 0, 8193) == LR_OK && lr_ledger_read(&l, &r) == LR_OK && r.group_cells[1] == 1);
}

static void test_removal(void) {
    static const lr_ledger_group groups[] = {{4096, 10, 0, LR_LEDGER_FULL, 0}, {512, 100, 300, LR_LEDGER_WINDOW, 0}};
    lr_ledger l;
    lr_ledger_freed freed;
    uint64_t used[2];
    CHECK(lr_ledger_init(&l, groups, 2, used, 2, 0) == LR_OK);
    CHECK(lr_ledger_set(&l, 0, 1000) == LR_OK && lr_ledger_set(&l, 1, 70) == LR_OK);
    /* A shift out of the middle: the window is as full as before. */
    CHECK(lr_ledger_remove(&l, 0, 100, 200, &freed) == LR_OK);
    CHECK(freed.tokens == 100 && freed.bytes == 1000 && freed.recompute == 0 && used[0] == 900);
    /* A cut of the end by 50: of the 300 in front of it the window has let go 50. */
    CHECK(lr_ledger_remove(&l, 0, 850, 9999, &freed) == LR_OK);
    CHECK(freed.tokens == 50 && freed.bytes == 500 && freed.recompute == 50 && used[0] == 850);
    CHECK(lr_ledger_remove(&l, 0, 100, 850, &freed) == LR_OK && freed.recompute == 100);
    CHECK(freed.bytes == 750 * 10 + 200 * 100);
    CHECK(lr_ledger_remove(&l, 1, 0, UINT64_MAX, NULL) == LR_OK && used[1] == 0 && l.tokens == 100);
    CHECK(lr_ledger_remove(&l, 0, 100, 100, &freed) == LR_OK && freed.tokens == 0 && freed.recompute == 0);
    CHECK(lr_ledger_remove(&l, 0, 500, 600, &freed) == LR_OK && freed.tokens == 0 && used[0] == 100);
    CHECK(lr_ledger_remove(&l, 0, 2, 1, &freed) == LR_E_ARGUMENT && lr_ledger_remove(&l, 2, 0, 1, NULL) == LR_E_ARGUMENT);
    CHECK(l.high_water == 1070);
}

static void test_unified(void) {
    static const lr_ledger_group group = {1024, 8, 0, LR_LEDGER_FULL, 0};
    lr_ledger l;
    lr_ledger_reading r;
    uint64_t used[3], left;
    CHECK(lr_ledger_init(&l, &group, 1, used, 3, 1) == LR_OK);
    CHECK(lr_ledger_add(&l, 0, 600) == LR_OK && lr_ledger_add(&l, 1, 400) == LR_OK);
    CHECK(lr_ledger_until_full(&l, 2, &left) == LR_OK && left == 24 && lr_ledger_add(&l, 2, 25) == LR_FULL);
    CHECK(lr_ledger_set(&l, 0, 624) == LR_OK && lr_ledger_set(&l, 0, 625) == LR_FULL);
    CHECK(lr_ledger_read(&l, &r) == LR_OK && r.until_full == 0 && r.bytes == 8192 && r.bytes_capacity == 8192);
    CHECK(lr_ledger_init(&l, &group, 1, used, 3, 0) == LR_OK && used[0] == 0);
    CHECK(lr_ledger_add(&l, 0, 1024) == LR_OK && lr_ledger_add(&l, 1, 1024) == LR_OK);
    CHECK(lr_ledger_read(&l, &r) == LR_OK && r.until_full == 0 && r.bytes_capacity == 3 * 8192);
}

static void test_refusals(void) {
    lr_ledger l;
    uint64_t used[1], left;
    lr_ledger_group bad = {1, 1, 0, LR_LEDGER_WINDOW, 0};
    CHECK(lr_ledger_init(&l, &bad, 1, used, 1, 0) == LR_E_ARGUMENT);
    bad = (lr_ledger_group){1, 1, 1, 3, 0};
    CHECK(lr_ledger_init(&l, &bad, 1, used, 1, 0) == LR_E_ARGUMENT);
    bad = (lr_ledger_group){UINT64_MAX / 2, 3, 0, LR_LEDGER_FULL, 0};
    CHECK(lr_ledger_init(&l, &bad, 1, used, 1, 0) == LR_E_OVERFLOW);
    CHECK(lr_ledger_init(&l, SCOUT, 0, used, 1, 0) == LR_E_ARGUMENT);
    CHECK(lr_ledger_init(&l, SCOUT, 9, used, 1, 0) == LR_E_ARGUMENT);
    CHECK(lr_ledger_init(&l, SCOUT, 2, NULL, 1, 0) == LR_E_ARGUMENT);
    CHECK(lr_ledger_init(&l, SCOUT, 2, used, 0, 0) == LR_E_ARGUMENT);
    CHECK(lr_ledger_init(&l, SCOUT + 1, 1, used, 1, 0) == LR_OK); /* windowed layers alone never fill */
    CHECK(lr_ledger_until_full(&l, 0, &left) == LR_OK && left == UINT64_MAX);
    CHECK(lr_ledger_until_full(&l, 1, &left) == LR_E_ARGUMENT && lr_ledger_read(&l, NULL) == LR_E_ARGUMENT);
}

int main(void) {
    test_one_sequence();
    test_removal();
    test_unified();
    test_refusals();
    return lr_report("lr_ledger");
}

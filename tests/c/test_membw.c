#include "check.h"
#include "lr_membw.h"

#include <stddef.h>

int main(void) {
    uint64_t rate = 0, budget = 50000000;
    CHECK(lr_membw_read(1, 1 << 22, 2, budget, &rate) == LR_OK && rate > 1000000);
    CHECK(lr_membw_read(3, (1 << 22) + 4321, 2, 0, &rate) == LR_OK && rate > 1000000);
    CHECK(lr_membw_read(0, 1 << 22, 1, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(257, 1 << 30, 1, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(1, 1 << 22, 0, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(1, 1 << 22, 1001, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(2, 1 << 16, 1, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(1, UINT64_MAX, 1, budget, &rate) == LR_E_ARGUMENT);
    CHECK(lr_membw_read(1, 1 << 22, 1, budget, NULL) == LR_E_ARGUMENT);
    return lr_report("lr_membw");
}

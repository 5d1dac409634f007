#include "check.h"
#include "lr_gguf.h"
int main(void) {
    lr_gguf g = {0};
    CHECK(lr_gguf_walk(&g) == LR_MORE);
    CHECK(g.need == 24);
    return lr_report("lr_gguf");
}

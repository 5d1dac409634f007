#include "check.h"
#include "lr_status.h"

#include <string.h>

int main(void) {
    for (int status = -10; status <= 10; status++) {
        CHECK(lr_status_text(status) != NULL);
        CHECK(strlen(lr_status_text(status)) > 0);
    }
    CHECK(strcmp(lr_status_text(LR_OK), "done") == 0);
    CHECK(strcmp(lr_status_text(99), "unknown status") == 0);
    return lr_report("lr_status");
}

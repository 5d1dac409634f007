#include "lr_status.h"

const char *lr_status_text(int status) {
    switch (status) {
    case LR_OK: return "done";
    case LR_MORE: return "more bytes needed";
    case LR_FULL: return "array too small";
    case LR_END: return "nothing left";
    case LR_AGAIN: return "being written";
    case LR_E_ARGUMENT: return "wrong argument";
    case LR_E_FORMAT: return "malformed";
    case LR_E_OVERFLOW: return "number too large";
    case LR_E_LIMIT: return "over a limit";
    case LR_E_MEMORY: return "no memory";
    case LR_E_UNSUPPORTED: return "not supported";
    default: return "unknown status";
    }
}

/* lr_status: what every lr_ function that can fail answers. Results go through out-parameters.
 *
 *   0    done
 *   > 0  a normal outcome that asks something of the caller
 *   < 0  an error; where there is more to say, the function's struct says it
 */
#ifndef LR_STATUS_H
#define LR_STATUS_H

typedef enum lr_status {
    LR_OK = 0,
    LR_MORE = 1,         /* more bytes are needed than were given */
    LR_FULL = 2,         /* the caller's array is too small; a count says how large it must be */
    LR_END = 3,          /* nothing is left to give */
    LR_AGAIN = 4,        /* it was being written to: ask once more */
    LR_E_ARGUMENT = -1,  /* the call itself is wrong: null, zero or out of range */
    LR_E_FORMAT = -2,    /* the bytes are not what they claim to be */
    LR_E_OVERFLOW = -3,  /* the result does not fit its type */
    LR_E_LIMIT = -4,     /* more than this function handles, by design */
    LR_E_MEMORY = -5,    /* the system gave no memory or no thread */
    LR_E_UNSUPPORTED = -6 /* well formed, but of a kind that is not handled */
} lr_status;

/* A few words for `status`, never null; static storage. */
const char *lr_status_text(int status);

#endif

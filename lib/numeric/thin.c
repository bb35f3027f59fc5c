/* thin.c - see thin.h: each k has code of its own. */
#include "numeric/thin.h"

uint64_t emr_thin_kept(const emr_coding *coding, uint64_t group)
{
    uint32_t hash = emr_thin_hash(coding->seed, group);
    switch (coding->rate) {
    case 32:
        return emr_thin_kept_by(hash, 1);
    case 16:
        return emr_thin_kept_by(hash, 2);
    case 8:
        return emr_thin_kept_by(hash, 3);
    case 4:
        return emr_thin_kept_by(hash, 4);
    default:
        return emr_thin_kept_by(hash, 5);
    }
}

uint64_t emr_thin_signs(const emr_coding *coding, uint64_t kept, uint64_t codes)
{
    switch (coding->rate) {
    case 32:
        return emr_thin_signs_by(kept, codes, 1);
    case 16:
        return emr_thin_signs_by(kept, codes, 2);
    case 8:
        return emr_thin_signs_by(kept, codes, 3);
    case 4:
        return emr_thin_signs_by(kept, codes, 4);
    default:
        return emr_thin_signs_by(kept, codes, 5);
    }
}

/* weights.c - see weights.h. */
#include "weights.h"

enum { BYTES = 4096 };

emr_status fit_read(const emr_tensor *tensor, uint64_t first, size_t n, double *values, emr_error *error)
{
    unsigned char stored[BYTES];
    const emr_dtype dtype = emr_tensor_dtype(tensor);
    const size_t bytes = emr_dtype_bits(dtype) / 8;
    if (!emr_dtype_is_float(dtype))
        return emr_error_format(error, EMR_EUNSUPPORTED, "tensor '%T' is no float", emr_tensor_name(tensor));
    for (size_t done = 0; done < n;) {
        size_t some = n - done < BYTES / bytes ? n - done : BYTES / bytes;
        emr_status status = emr_tensor_read(tensor, (first + done) * bytes, stored, some * bytes, error);
        if (!status)
            status = emr_convert(EMR_DTYPE_F64, values + done, dtype, stored, some);
        if (status)
            return status;
        done += some;
    }
    return EMR_OK;
}

emr_status fit_read_mean(const emr_tensor *const *tensors, const double *coefficients, uint32_t n_tensors,
                         uint64_t first, size_t n, double *values, double *room, emr_error *error)
{
    for (size_t i = 0; i < n; i++)
        values[i] = 0;
    for (uint32_t m = 0; m < n_tensors; m++) {
        emr_status status = fit_read(tensors[m], first, n, room, error);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++)
            values[i] += coefficients[m] * room[i];
    }
    return EMR_OK;
}

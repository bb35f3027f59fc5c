// cpp_merge.cpp - the headers from C++: EMR_INIT, handles in unique_ptr, and a merge of two tiny models.
#include <emr/emr.h>

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

// A destroy function as a deleter.
template <typename T, void (*destroy)(T **)> struct deleter {
    void operator()(T *handle) const
    {
        destroy(&handle);
    }
};
using model_ptr = std::unique_ptr<emr_model, deleter<emr_model, emr_model_destroy>>;
using merge_ptr = std::unique_ptr<emr_merge, deleter<emr_merge, emr_merge_destroy>>;
using bundle_ptr = std::unique_ptr<emr_bundle, deleter<emr_bundle, emr_bundle_destroy>>;
using modulator_ptr = std::unique_ptr<emr_modulator, deleter<emr_modulator, emr_modulator_destroy>>;

emr_error error;

void must(emr_status status)
{
    if (status != EMR_OK)
        throw std::runtime_error(std::string(emr_status_name(status)) + ": " + error.text);
}

model_ptr model_over(const char *name, const std::vector<float> &values)
{
    emr_model *model;
    must(emr_model_create(&model, name, nullptr, &error));
    model_ptr owner(model);
    const std::uint64_t shape[] = {values.size()};
    emr_tensor_desc weight = EMR_INIT(emr_tensor_desc);
    weight.name = "weight";
    weight.dtype = EMR_DTYPE_F32;
    weight.rank = 1;
    weight.shape = shape;
    weight.data = values.data();
    must(emr_model_add(model, &weight, &error));
    return owner;
}

// The bundle goes to `buffer`.
void merge(const std::vector<float> &base, std::initializer_list<const std::vector<float> *> tasks,
           emr_buffer &buffer)
{
    std::vector<model_ptr> models; // borrowed by the merge, so declared before it
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.rescale_per = EMR_RESCALE_PER_TENSOR;
    options.compression = EMR_COMPRESSION_NONE;
    emr_merge *handle;
    must(emr_merge_create(&handle, &options, &error));
    merge_ptr owner(handle);
    models.push_back(model_over("base", base));
    must(emr_merge_set_base(handle, models.back().get(), &error));
    for (const std::vector<float> *task : tasks) {
        std::string name = "task " + std::to_string(models.size());
        models.push_back(model_over(name.c_str(), *task));
        must(emr_merge_add_task(handle, name.c_str(), models.back().get(), &error));
    }
    const emr_io output = emr_buffer_io(&buffer);
    must(emr_merge_set_output(handle, &output, &error));
    must(emr_merge_run(handle, &error));
}

std::vector<float> apply(const emr_buffer &buffer, const std::vector<float> &base, std::size_t task)
{
    emr_memory memory = {buffer.data, buffer.bytes};
    const emr_io input = emr_memory_io(&memory);
    emr_bundle *bundle;
    must(emr_bundle_open(&bundle, &input, "buffer", nullptr, &error));
    bundle_ptr bundle_owner(bundle);
    emr_modulator *modulator;
    must(emr_bundle_open_modulator(&modulator, bundle, task, nullptr, &error));
    modulator_ptr modulator_owner(modulator);
    std::vector<float> weights(base.size());
    must(emr_modulator_apply(modulator, 0, 0, base.size(), EMR_DTYPE_F32, base.data(), EMR_DTYPE_F32, weights.data(),
                             &error));
    return weights;
}

} // namespace

int main()
{
    // task vectors (1, 2, -1, 0) and (3, -2, -1, 0): unified (3, 0, -1, 0), rescalers 4 / 4 and 6 / 4
    const std::vector<float> base = {1, 1, 1, 1}, french = {2, 3, 0, 1}, german = {4, -1, 0, 1};
    emr_buffer buffer = {};
    bool right = false;
    try {
        merge(base, {&french, &german}, buffer);
        right = apply(buffer, base, 0) == std::vector<float>{4, 1, 0, 1} &&
                apply(buffer, base, 1) == std::vector<float>{5.5f, 1, -0.5f, 1};
        if (!right)
            std::fprintf(stderr, "cpp_merge: wrong weights\n");
    } catch (const std::exception &e) {
        std::fprintf(stderr, "cpp_merge: %s\n", e.what());
    }
    emr_buffer_free(&buffer);
    return right ? 0 : 1;
}

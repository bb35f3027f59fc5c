// cpp_merge.cpp - the headers from C++, in extern "C" as engines include C's: EMR_INIT, handles in
// unique_ptr, a merge of two tiny models, and what emr_error says of a failure.
extern "C" {
#include <emr/emr.h>
}

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
using buffer_ptr = std::unique_ptr<emr_buffer, deleter<emr_buffer, emr_buffer_destroy>>;
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
    emr_model_options options = EMR_INIT(emr_model_options);
    options.name = name;
    emr_model *model;
    must(emr_model_create(&model, &options, &error));
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

// A bundle in memory.
buffer_ptr merge(const std::vector<float> &base, std::initializer_list<const std::vector<float> *> tasks)
{
    emr_buffer *buffer;
    must(emr_buffer_create(&buffer, nullptr, &error));
    buffer_ptr buffer_owner(buffer);
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
    must(emr_merge_set_output(handle, emr_buffer_io(buffer), &error));
    must(emr_merge_run(handle, &error));
    return buffer_owner;
}

bundle_ptr open(const emr_buffer *buffer)
{
    emr_bundle *bundle;
    must(emr_bundle_open(&bundle, emr_buffer_io(buffer), "buffer", nullptr, &error));
    return bundle_ptr(bundle);
}

std::vector<float> apply(const emr_bundle *bundle, const std::vector<float> &base, std::uint32_t task)
{
    emr_modulator *modulator;
    must(emr_bundle_open_modulator(&modulator, bundle, task, nullptr, &error));
    modulator_ptr owner(modulator);
    std::vector<float> weights(base.size());
    emr_application application = EMR_INIT(emr_application);
    application.count = base.size();
    application.base = base.data();
    application.base_dtype = EMR_DTYPE_F32;
    application.out = weights.data();
    application.out_dtype = EMR_DTYPE_F32;
    must(emr_modulator_apply(modulator, &application, &error));
    return weights;
}

// Another base is refused, with the tensor's name where the error says.
bool names_the_tensor(const emr_bundle *bundle, const std::vector<float> &other)
{
    model_ptr model = model_over("other", other);
    if (emr_bundle_check_base(bundle, model.get(), nullptr, &error) != EMR_EMISMATCH)
        return false;
    return std::string(error.text + error.tensor.offset, error.tensor.length) == "weight";
}

} // namespace

int main()
{
    // task vectors (1, 2, -1, 0) and (3, -2, -1, 0): unified (3, 0, -1, 0), rescalers 4 / 4 and 6 / 4
    const std::vector<float> base = {1, 1, 1, 1}, french = {2, 3, 0, 1}, german = {4, -1, 0, 1};
    try {
        const buffer_ptr buffer = merge(base, {&french, &german});
        const bundle_ptr bundle = open(buffer.get());
        if (apply(bundle.get(), base, 0) != std::vector<float>{4, 1, 0, 1} ||
            apply(bundle.get(), base, 1) != std::vector<float>{5.5f, 1, -0.5f, 1})
            throw std::runtime_error("wrong weights");
        if (!names_the_tensor(bundle.get(), french))
            throw std::runtime_error("another base was taken, or the error does not name the tensor");
    } catch (const std::exception &e) {
        std::fprintf(stderr, "cpp_merge: %s\n", e.what());
        return 1;
    }
    return 0;
}

// fit.hpp - libemr-fit for C++17, over emr.hpp, whose rules hold here too: owners, structs under C's names, calls that throw
// or return results.
//
//     emr::gram gram = emr::gram::create();
//     const std::uint32_t site = gram.add_site("fc1", {768});
//     gram.feed(site, {hidden_of_batch}, n_rows);                     // std::vector<float>, 768 a row
//
//     emr::match_options options;
//     options.space = EMR_MATCH_SPACE_BOTH;
//     options.gram = both.get();
//     emr::permutation permutation = emr::match(spec, a, b, options);
//     emr::model aligned = permutation.open_model(b);
//
// What options point to is borrowed as C says: so also by the merged models, which compute when they are read.
#ifndef EMR_FIT_FIT_HPP
#define EMR_FIT_FIT_HPP

#include "emr/emr.hpp"
#include "emr/fit/fit.h"

namespace emr
{
inline namespace EMR_HPP_NAMESPACE
{

// -----------------------------------------------------------------------------------------------------------
// Structs
// -----------------------------------------------------------------------------------------------------------

// Filled by the library.
using gram_site = detail::sized<emr_gram_site>;
using unit_group = detail::sized<emr_unit_group>;
using match_report = detail::sized<emr_match_report>;
using coefficient = detail::sized<emr_coefficient>;
using coefficients_report = detail::sized<emr_coefficients_report>;
using surgery_report = detail::sized<emr_surgery_report>;
using ensemble_report = detail::sized<emr_ensemble_report>;

// Filled by the host, or either way.
using head_units = detail::sized<emr_head_units>;
using derive_options = detail::sized<emr_derive_options>;
using fit_layer = detail::sized<emr_fit_layer>;
using pleas_width = detail::sized<emr_pleas_width>;
using adam = detail::sized<emr_adam>;
using surgery_fit_options = detail::sized<emr_surgery_fit_options>;
using surgery_weights = detail::sized<emr_surgery_weights>;
using ensemble_batch = detail::sized<emr_ensemble_batch>;
using ensemble_fit_options = detail::sized<emr_ensemble_fit_options>;

namespace detail
{
// Options that have nothing but resources to link.
template <class C> struct fit_options : resourceful<C> {
    const C *linked() noexcept
    {
        this->link();
        return this;
    }
};

// EMR_EINVAL, where a range has not as many elements as it should.
template <class T> returns<T> refused(const char *why)
{
    const failure failed(EMR_EINVAL, why);
    if constexpr (std::is_void<T>::value)
        return finish(EMR_EINVAL, failed.get());
    else
        return finish_with(T(), EMR_EINVAL, failed.get());
}

// How many rows of so many numbers; SIZE_MAX: not a whole number of them.
inline std::size_t rows_of(std::size_t size, std::uint64_t width) noexcept
{
    return width && size % width == 0 ? static_cast<std::size_t>(size / width) : SIZE_MAX;
}
} // namespace detail

using gram_options = detail::fit_options<emr_gram_options>;
using match_options = detail::fit_options<emr_match_options>;
using zip_options = detail::fit_options<emr_zip_options>;
using pleas_options = detail::fit_options<emr_pleas_options>;
using regmean_options = detail::fit_options<emr_regmean_options>;
using spectral_options = detail::fit_options<emr_spectral_options>;
using coefficients_options = detail::fit_options<emr_coefficients_options>;
using surgery_options = detail::fit_options<emr_surgery_options>;
using ensemble_options = detail::fit_options<emr_ensemble_options>;

// One model's rows: of a range, which is borrowed for the call, with its elements' dtype; or of any.
struct activations : detail::sized<emr_activations> {
    activations() noexcept = default;
    template <class C, class T = std::remove_cv_t<detail::element_of<const C>>,
              class = std::enable_if_t<detail::is_range_of<const C, const T>::value>>
    activations(const C &rows) noexcept : activations(std::data(rows), dtype_of<T>)
    {
    }
    activations(const void *rows, emr_dtype as) noexcept
    {
        data = rows;
        dtype = as;
    }
};
static_assert(sizeof(activations) == sizeof(emr_activations), "an array of them is one of C's");

// -----------------------------------------------------------------------------------------------------------
// Sums of activations
// -----------------------------------------------------------------------------------------------------------

inline std::uint64_t gram_bytes(list<std::uint64_t> widths) noexcept
{
    return emr_gram_bytes(widths.data(), static_cast<std::uint32_t>(widths.size()));
}

// Models that were opened from it must be destroyed before.
class gram : public detail::handle<emr_gram, emr_gram_destroy>
{
  public:
    using handle::handle;

    static returns<gram> create(gram_options options = {})
    {
        return detail::made<gram>(
            [&](emr_gram **out, emr_error *why) { return emr_gram_create(out, options.linked(), why); });
    }
    static returns<gram> open(const model &saved, gram_options options = {})
    {
        return detail::made<gram>([&](emr_gram **out, emr_error *why) {
            return emr_gram_open(out, saved.get(), options.linked(), why);
        });
    }

    // As many widths as it has models.
    returns<std::uint32_t> add_site(zstring_view name, list<std::uint64_t> widths)
    {
        return detail::filled<std::uint32_t>([&](std::uint32_t *site, emr_error *why) {
            return emr_gram_add_site(get(), name.c_str(), widths.data(), site, why);
        });
    }
    std::uint32_t n_sites() const noexcept { return emr_gram_n_sites(get()); }
    returns<gram_site> get_site(std::uint32_t site) const
    {
        return detail::told<gram_site>([&](gram_site *info) { return emr_gram_get_site(get(), site, info); });
    }
    returns<std::uint32_t> find_site(zstring_view name) const
    {
        return detail::filled<std::uint32_t>([&](std::uint32_t *site, emr_error *why) {
            return emr_gram_find_site(get(), name.c_str(), site, why);
        });
    }

    // As many activations as it has models, of n_rows rows each. `keep` is of as many, or empty: all count.
    returns<void> feed(std::uint32_t site, list<activations> rows, std::size_t n_rows,
                       list<std::uint8_t> keep = {})
    {
        if (!keep.empty() && keep.size() != n_rows)
            return detail::refused<void>("keep does not say of each row whether it counts");
        return detail::done([&](emr_error *why) {
            return emr_gram_feed(get(), site, rows.data(), n_rows, keep.empty() ? nullptr : keep.data(), why);
        });
    }
    returns<void> add(const gram &other)
    {
        return detail::done([&](emr_error *why) { return emr_gram_add(get(), other.get(), why); });
    }

    returns<model> open_model() const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_gram_open_model(get(), out, why); });
    }
    // Mean and variance of each output of a layer, which `mean` and `variance` have room for; EMR_EINVAL where they are not as
    // many as the weight has. The bias may be none.
    returns<void> output_moments(std::uint32_t site, std::uint32_t of_model, tensor weight, tensor bias,
                                 span<double> mean, span<double> variance) const
    {
        const std::uint64_t outputs = weight && weight.rank() ? weight.shape()[0] : 0;
        if (mean.size() != outputs || variance.size() != outputs)
            return detail::refused<void>("mean and variance are not as many as outputs");
        return detail::done([&](emr_error *why) {
            return emr_gram_output_moments(get(), site, of_model, weight.get(), bias.get(), mean.data(),
                                           variance.data(), why);
        });
    }
    double value(std::uint32_t site, std::uint64_t i, std::uint64_t j) const noexcept
    {
        return emr_gram_value(get(), site, i, j);
    }
};

// -----------------------------------------------------------------------------------------------------------
// Permutations
// -----------------------------------------------------------------------------------------------------------

class permutation_spec : public detail::handle<emr_permutation_spec, emr_permutation_spec_destroy>
{
  public:
    using handle::handle;

    static returns<permutation_spec> parse(std::string_view json, const emr_allocator *allocator = nullptr)
    {
        return detail::made<permutation_spec>([&](emr_permutation_spec **out, emr_error *why) {
            return emr_permutation_spec_parse(out, json.data(), json.size(), allocator, why);
        });
    }
    // `config_json` is nullptr where none is needed.
    static returns<permutation_spec> derive(const model &of, const char *config_json = nullptr,
                                            const derive_options &options = {})
    {
        return detail::made<permutation_spec>([&](emr_permutation_spec **out, emr_error *why) {
            return emr_permutation_spec_derive(out, of.get(), config_json, &options, why);
        });
    }

    returns<void> write(const emr_io &io) const
    {
        return detail::done([&](emr_error *why) { return emr_permutation_spec_write(get(), &io, why); });
    }
    returns<void> check(const model &of) const
    {
        return detail::done([&](emr_error *why) { return emr_permutation_spec_check(get(), of.get(), why); });
    }
    std::uint32_t n_groups() const noexcept { return emr_permutation_spec_n_groups(get()); }
    returns<unit_group> get_group(std::uint32_t i) const
    {
        return detail::told<unit_group>(
            [&](unit_group *group) { return emr_permutation_spec_get_group(get(), i, group); });
    }
    std::uint32_t n_layers() const noexcept { return emr_permutation_spec_n_layers(get()); }
    returns<fit_layer> get_layer(std::uint32_t i) const
    {
        return detail::told<fit_layer>(
            [&](fit_layer *layer) { return emr_permutation_spec_get_layer(get(), i, layer); });
    }
};

class permutation : public detail::handle<emr_permutation, emr_permutation_destroy>
{
  public:
    using handle::handle;

    static returns<permutation> create(const permutation_spec &spec, const emr_allocator *allocator = nullptr)
    {
        return detail::made<permutation>([&](emr_permutation **out, emr_error *why) {
            return emr_permutation_create(out, spec.get(), allocator, why);
        });
    }

    // As many as the group has units.
    returns<void> set_units(zstring_view group, list<std::uint32_t> units)
    {
        return detail::done([&](emr_error *why) {
            return emr_permutation_set_units(get(), group.c_str(), units.data(), why);
        });
    }
    returns<void> set_heads(zstring_view group, const head_units &units)
    {
        return detail::done(
            [&](emr_error *why) { return emr_permutation_set_heads(get(), group.c_str(), &units, why); });
    }
    // nullptr where there is no such group of units.
    const std::uint32_t *units(zstring_view group) const noexcept
    {
        return emr_permutation_units(get(), group.c_str());
    }
    returns<head_units> get_heads(zstring_view group) const
    {
        return detail::told<head_units>(
            [&](head_units *units) { return emr_permutation_get_heads(get(), group.c_str(), units); });
    }

    returns<permutation> invert() const
    {
        return detail::made<permutation>(
            [&](emr_permutation **out, emr_error *why) { return emr_permutation_invert(get(), out, why); });
    }
    // This one first, then `second`.
    returns<permutation> compose(const permutation &second) const
    {
        return detail::made<permutation>([&](emr_permutation **out, emr_error *why) {
            return emr_permutation_compose(get(), second.get(), out, why);
        });
    }

    returns<model> open_indices() const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_permutation_open_indices(get(), out, why); });
    }
    returns<void> read_indices(const model &saved)
    {
        return detail::done(
            [&](emr_error *why) { return emr_permutation_read_indices(get(), saved.get(), why); });
    }
    // The model in the new order, over the old one; this may go.
    returns<model> open_model(borrowed<model> of) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_permutation_open_model(get(), of.get(), out, why);
        });
    }
};

// -----------------------------------------------------------------------------------------------------------
// Matching and merging
// -----------------------------------------------------------------------------------------------------------

// The column of each row of a square matrix. EMR_EINVAL, too: there are not as many as it has rows.
inline returns<void> assign(span<const double> similarity, span<std::uint32_t> column_of_row,
                            const emr_allocator *allocator = nullptr)
{
    const std::size_t n = column_of_row.size();
    if (n ? similarity.size() / n != n || similarity.size() % n : similarity.size() != 0)
        return detail::refused<void>("the matrix has not n rows of n");
    return detail::done([&](emr_error *why) {
        return emr_assign(similarity.data(), n, column_of_row.data(), allocator, why);
    });
}

// `report` is filled unless it is nullptr.
inline returns<permutation> match(const permutation_spec &spec, const model &a, const model &b,
                                  match_options options = {}, match_report *report = nullptr)
{
    return detail::made<permutation>([&](emr_permutation **out, emr_error *why) {
        return emr_match(spec.get(), a.get(), b.get(), options.linked(), out, report, why);
    });
}

inline returns<model> zip_open_model(const permutation_spec &spec, zip_options options,
                                     match_report *report = nullptr)
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_zip_open_model(spec.get(), options.linked(), out, report, why);
    });
}

inline returns<model> pleas_open_model(const permutation_spec &spec, borrowed<model> a, borrowed<model> b,
                                       pleas_options options = {})
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_pleas_open_model(spec.get(), a.get(), b.get(), options.linked(), out, why);
    });
}

inline returns<model> regmean_open_model(regmean_options options)
{
    return detail::made<model>(
        [&](emr_model **out, emr_error *why) { return emr_regmean_open_model(options.linked(), out, why); });
}

inline returns<model> spectral_open_model(spectral_options options)
{
    return detail::made<model>(
        [&](emr_model **out, emr_error *why) { return emr_spectral_open_model(options.linked(), out, why); });
}

// -----------------------------------------------------------------------------------------------------------
// Losses
// -----------------------------------------------------------------------------------------------------------

// Rows of so many logits, which are borrowed; not a whole number of them is none, which calls refuse.
struct logits : detail::sized<emr_logits> {
    logits() noexcept = default;
    logits(span<const float> values, std::size_t columns) noexcept
    {
        const std::size_t rows = detail::rows_of(values.size(), columns);
        data = values.data();
        n_rows = rows == SIZE_MAX ? 0 : rows;
        n_columns = columns;
    }
};

namespace detail
{
// Whether a gradient is laid out as the logits, or not wanted.
inline bool has_room(span<float> gradient, const logits &z) noexcept
{
    const std::size_t stride = z.row_stride ? z.row_stride : z.n_columns;
    return gradient.empty() || (z.n_rows && gradient.size() >= z.n_columns &&
                                (gradient.size() - z.n_columns) / (stride ? stride : 1) >= z.n_rows - 1);
}
} // namespace detail

// The loss. Here and below: an empty gradient is not wanted.
inline returns<double> entropy(const logits &z, span<float> gradient = {})
{
    if (!detail::has_room(gradient, z))
        return detail::refused<double>("the gradient has not as many elements as the logits");
    return detail::filled<double>(
        [&](double *loss, emr_error *why) { return emr_entropy(&z, loss, gradient.data(), why); });
}

// A label for each row.
inline returns<double> cross_entropy(const logits &z, list<std::uint32_t> labels, span<float> gradient = {})
{
    if (labels.size() != z.n_rows || !detail::has_room(gradient, z))
        return detail::refused<double>("labels or the gradient are not as many as the logits ask for");
    return detail::filled<double>([&](double *loss, emr_error *why) {
        return emr_cross_entropy(&z, labels.data(), loss, gradient.data(), why);
    });
}

// Of y and z [n, n_tokens, width]. With `adds`, the gradient is added to what is there.
inline returns<double> l1(list<float> y, list<float> z, std::size_t n_tokens, std::size_t width,
                          span<float> gradient = {}, bool adds = false)
{
    const std::size_t tokens = detail::rows_of(y.size(), width), n = detail::rows_of(tokens, n_tokens);
    if (tokens == SIZE_MAX || n == SIZE_MAX || z.size() != y.size() ||
        (!gradient.empty() && gradient.size() != y.size()))
        return detail::refused<double>(
            "features or the gradient are not samples of n_tokens tokens of width");
    return detail::filled<double>([&](double *loss, emr_error *why) {
        return emr_l1(y.data(), z.data(), n, n_tokens, width, adds, loss, gradient.data(), why);
    });
}

// -----------------------------------------------------------------------------------------------------------
// Coefficients that are learned
// -----------------------------------------------------------------------------------------------------------

class coefficients : public detail::handle<emr_coefficients, emr_coefficients_destroy>
{
  public:
    using handle::handle;

    static returns<coefficients> create(coefficients_options options)
    {
        return detail::made<coefficients>([&](emr_coefficients **out, emr_error *why) {
            return emr_coefficients_create(out, options.linked(), why);
        });
    }

    std::uint32_t n_tasks() const noexcept { return emr_coefficients_n_tasks(get()); }
    std::uint32_t n_groups() const noexcept { return emr_coefficients_n_groups(get()); }
    // Its name; nullptr past the end.
    const char *group(std::uint32_t number) const noexcept { return emr_coefficients_group(get(), number); }
    returns<std::uint32_t> find_group(zstring_view tensor) const
    {
        return detail::filled<std::uint32_t>([&](std::uint32_t *group, emr_error *why) {
            return emr_coefficients_find_group(get(), tensor.c_str(), group, why);
        });
    }
    returns<coefficient> get_coefficient(std::uint32_t task, std::uint32_t group) const
    {
        return detail::told<coefficient>(
            [&](coefficient *info) { return emr_coefficients_get(get(), task, group, info); });
    }
    returns<void> set(std::uint32_t task, std::uint32_t group, double raw)
    {
        return detail::done(
            [&](emr_error *why) { return emr_coefficients_set(get(), task, group, raw, why); });
    }

    // It outlives this one.
    returns<model> open_model() const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_coefficients_open_model(get(), out, why); });
    }
    returns<void> apply(list<weights> targets)
    {
        emr_error why;
        emr_status status = emr_coefficients_apply(get(), targets.data(), targets.size(), &why);
        if (status != EMR_OK)
            detail::rethrow_of(targets);
        return detail::finish(status, why);
    }

    // Of elements from `first` on, as many as the range has; or of any dtype.
    template <class C, class T = std::remove_cv_t<detail::element_of<const C>>,
              class = std::enable_if_t<detail::is_range_of<const C, const T>::value>>
    returns<void> gradient(zstring_view tensor, std::uint64_t first, const C &values)
    {
        return gradient(tensor, first, std::size(values), dtype_of<T>, std::data(values));
    }
    returns<void> gradient(zstring_view tensor, std::uint64_t first, std::uint64_t count, emr_dtype as,
                           const void *values)
    {
        return detail::done([&](emr_error *why) {
            return emr_coefficients_gradient(get(), tensor.c_str(), first, count, as, values, why);
        });
    }
    void clear() noexcept { emr_coefficients_clear(get()); }
    returns<coefficients_report> step()
    {
        return detail::filled<coefficients_report>([&](coefficients_report *report, emr_error *why) {
            return emr_coefficients_step(get(), report, why);
        });
    }

    returns<model> open_state() const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_coefficients_open_state(get(), out, why); });
    }
    returns<void> set_state(const model &saved)
    {
        return detail::done(
            [&](emr_error *why) { return emr_coefficients_set_state(get(), saved.get(), why); });
    }
};

// -----------------------------------------------------------------------------------------------------------
// Adapters behind a merged model
// -----------------------------------------------------------------------------------------------------------

// Ranges are whole rows of width() features.
class surgery : public detail::handle<emr_surgery, emr_surgery_destroy>
{
  public:
    using handle::handle;

    static returns<surgery> create(surgery_options options)
    {
        return detail::made<surgery>([&](emr_surgery **out, emr_error *why) {
            return emr_surgery_create(out, options.linked(), why);
        });
    }
    static returns<surgery> open(const model &saved, zstring_view place, surgery_options options = {})
    {
        return detail::made<surgery>([&](emr_surgery **out, emr_error *why) {
            return emr_surgery_open(out, saved.get(), place.c_str(), options.linked(), why);
        });
    }

    std::uint64_t width() const noexcept { return emr_surgery_width(get()); }
    std::uint32_t rank() const noexcept { return emr_surgery_rank(get()); }

    // y may be x.
    returns<void> apply(list<float> x, span<float> y) const
    {
        if (!are_rows(x, y.size()))
            return detail::refused<void>(uneven);
        return detail::done(
            [&](emr_error *why) { return emr_surgery_apply(get(), x.data(), y.data(), n_rows(x), why); });
    }

    // The loss before the step.
    returns<double> train(list<float> x, list<float> z)
    {
        if (!are_rows(x, z.size()))
            return detail::refused<double>(uneven);
        return detail::filled<double>([&](double *loss, emr_error *why) {
            return emr_surgery_train(get(), x.data(), z.data(), n_rows(x), loss, why);
        });
    }
    returns<surgery_report> fit(list<float> x, list<float> z, const surgery_fit_options &options = {})
    {
        if (!are_rows(x, z.size()))
            return detail::refused<surgery_report>(uneven);
        return detail::filled<surgery_report>([&](surgery_report *report, emr_error *why) {
            return emr_surgery_fit(get(), x.data(), z.data(), n_rows(x), &options, report, why);
        });
    }
    // dx may be dy; empty: it is not wanted.
    returns<void> backward(list<float> x, list<float> dy, span<float> dx = {})
    {
        if (!are_rows(x, dy.size()) || (!dx.empty() && dx.size() != x.size()))
            return detail::refused<void>(uneven);
        return detail::done([&](emr_error *why) {
            return emr_surgery_backward(get(), x.data(), dy.data(), n_rows(x), dx.data(), why);
        });
    }
    returns<void> step()
    {
        return detail::done([&](emr_error *why) { return emr_surgery_step(get(), why); });
    }

  private:
    static constexpr const char *uneven = "features are not as many, or no whole rows of the adapter's width";

    std::size_t n_rows(list<float> x) const noexcept { return detail::rows_of(x.size(), width()); }
    bool are_rows(list<float> x, std::size_t others) const noexcept
    {
        return x.size() == others && n_rows(x) != SIZE_MAX;
    }
};

// Adapters with a place each, as a model.
inline returns<model> surgery_open_model(list<const emr_surgery *> adapters, list<const char *> places)
{
    if (adapters.size() != places.size())
        return detail::refused<model>("places are not as many as adapters");
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_surgery_open_model(adapters.data(), places.data(),
                                      static_cast<std::uint32_t>(adapters.size()), out, why);
    });
}

// `scratch` has room for a rank; y may be x.
inline returns<void> surgery_apply_weights(const surgery_weights &adapter, list<float> x, span<float> y,
                                           span<float> scratch)
{
    const std::size_t n = detail::rows_of(x.size(), adapter.width);
    if (n == SIZE_MAX || y.size() != x.size() || scratch.size() < adapter.rank)
        return detail::refused<void>(
            "features are no whole rows of the adapter's width, or scratch is short");
    return detail::finish(emr_surgery_apply_weights(&adapter, x.data(), y.data(), n, scratch.data()));
}

// -----------------------------------------------------------------------------------------------------------
// Models that answer together
// -----------------------------------------------------------------------------------------------------------

class ensemble : public detail::handle<emr_ensemble, emr_ensemble_destroy>
{
  public:
    using handle::handle;

    static returns<ensemble> create(ensemble_options options)
    {
        return detail::made<ensemble>([&](emr_ensemble **out, emr_error *why) {
            return emr_ensemble_create(out, options.linked(), why);
        });
    }
    static returns<ensemble> open(const model &saved, ensemble_options options = {})
    {
        return detail::made<ensemble>([&](emr_ensemble **out, emr_error *why) {
            return emr_ensemble_open(out, saved.get(), options.linked(), why);
        });
    }
    returns<model> open_model() const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_ensemble_open_model(get(), out, why); });
    }

    // `weights` [n, n_sources] and `out` [n, n_columns]; an empty one is not wanted.
    returns<void> combine(const ensemble_batch &batch, span<float> weights, span<float> out) const
    {
        return combine_by(get(), batch, weights, out);
    }
    // All sources weigh the same.
    static returns<void> combine_evenly(const ensemble_batch &batch, span<float> out)
    {
        return combine_by(nullptr, batch, {}, out);
    }

    // The loss before the step.
    returns<double> train(const ensemble_batch &batch)
    {
        return detail::filled<double>(
            [&](double *loss, emr_error *why) { return emr_ensemble_train(get(), &batch, loss, why); });
    }
    returns<ensemble_report> fit(const ensemble_batch &batch, const ensemble_fit_options &options = {})
    {
        return detail::filled<ensemble_report>([&](ensemble_report *report, emr_error *why) {
            return emr_ensemble_fit(get(), &batch, &options, report, why);
        });
    }

    // An answer for each sample.
    static returns<void> vote(const ensemble_batch &batch, span<std::uint32_t> answers)
    {
        if (answers.size() != batch.n)
            return detail::refused<void>("answers are not as many as samples");
        return detail::done([&](emr_error *why) { return emr_ensemble_vote(&batch, answers.data(), why); });
    }
    struct best {
        std::size_t source, n_right;
    };
    static returns<best> best_source(const ensemble_batch &batch)
    {
        return detail::filled<best>([&](best *found, emr_error *why) {
            return emr_ensemble_best_source(&batch, &found->source, &found->n_right, why);
        });
    }
    // Of [n, n_tokens, width], x [n, width]. `keep` is of as many tokens, or empty: none is padding.
    static returns<void> pool(list<float> embeddings, std::size_t n_tokens, span<float> x, std::size_t width,
                              list<std::uint8_t> keep = {})
    {
        const std::size_t n = detail::rows_of(x.size(), width),
                          tokens = detail::rows_of(embeddings.size(), width);
        if (n == SIZE_MAX || tokens == SIZE_MAX || detail::rows_of(tokens, n_tokens) != n ||
            (!keep.empty() && keep.size() != tokens))
            return detail::refused<void>("embeddings, x or keep are not inputs of n_tokens tokens of width");
        return detail::done([&](emr_error *why) {
            return emr_ensemble_pool(embeddings.data(), n, n_tokens, width,
                                     keep.empty() ? nullptr : keep.data(), x.data(), why);
        });
    }

  private:
    static returns<void> combine_by(const emr_ensemble *by, const ensemble_batch &batch, span<float> weights,
                                    span<float> out)
    {
        if ((!weights.empty() && detail::rows_of(weights.size(), batch.n_sources) != batch.n) ||
            (!out.empty() && detail::rows_of(out.size(), batch.n_columns) != batch.n))
            return detail::refused<void>("weights or out are not as many as the batch asks for");
        return detail::done([&](emr_error *why) {
            return emr_ensemble_combine(by, &batch, weights.data(), out.data(), why);
        });
    }
};

} // namespace EMR_HPP_NAMESPACE
} // namespace emr

#endif

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

// Filled by the host, or either way.
using head_units = detail::sized<emr_head_units>;
using derive_options = detail::sized<emr_derive_options>;
using fit_layer = detail::sized<emr_fit_layer>;
using pleas_width = detail::sized<emr_pleas_width>;

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
} // namespace detail

using gram_options = detail::fit_options<emr_gram_options>;
using match_options = detail::fit_options<emr_match_options>;
using zip_options = detail::fit_options<emr_zip_options>;
using pleas_options = detail::fit_options<emr_pleas_options>;
using regmean_options = detail::fit_options<emr_regmean_options>;
using spectral_options = detail::fit_options<emr_spectral_options>;

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
            return detail::finish(
                EMR_EINVAL, failure(EMR_EINVAL, "keep does not say of each row whether it counts").get());
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
            return detail::finish(EMR_EINVAL,
                                  failure(EMR_EINVAL, "mean and variance are not as many as outputs").get());
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
        return detail::finish(EMR_EINVAL, failure(EMR_EINVAL, "the matrix has not n rows of n").get());
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

} // namespace EMR_HPP_NAMESPACE
} // namespace emr

#endif

using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>Low-rank tensor attention: what it measures, chooses and proves. Objects are reused from call to call.</summary>
/// <remarks>
/// <para>Notation: u = 2^-24, gamma_m = m u/(1 - m u), k the order, D the columns of the <see cref="TensorShape"/>; box and rho its bounds over all
/// rows; P the polynomial, |P(s) exp(-s) - 1| &lt;= eps on [-rho, rho]; range_c the range of the products of values of column c over all tuples,
/// V_c = prod_s max|v_sc|. Values are scaled by powers of two to at most 1, exactly. m = k (g + T/16 + 18) + r + 16, T tokens in a float32 sum.
/// Needed: g log2 max(1, 2^(k-1) box) &lt;= 60.</para>
/// <para><b>Statement.</b> |o_ic - o*_ic| &lt;= range_c tanh(Delta/2 + atanh(eps)/2) + V_c (2 eta/(1 - eta) + 2u) + 2^-149 with
/// Delta = k u box (1 + 10^-3) + 4u and eta = gamma_m P_abs(box) exp(rho)/(1 - eps), P_abs(t) = sum |c_j| t^j.</para>
/// <para><b>Proof.</b> (1) Storing rounds each of the k factors of a term of a score once, which moves the score by at most Delta - 4u; a
/// constant in a row does not matter. (2) With weights P in exact arithmetic the ratio to the true weights stays, up to a constant, within
/// exp(+-Delta)(1 +- eps), so the two distributions over tuples are at most tanh(Delta/2 + atanh(eps)/2) apart in total variation.
/// (3) Written out, every computed sum is a sum over alpha and tuples of c_alpha u^alpha prod_s k_s^alpha v_s, and every such term
/// passes through fewer than m - 14 float32 roundings: g for the powers of each of k factors, 1 for the product with v, T/16 additions of its
/// lane and 15 across lanes, one cast, r + 1 for the last sum. Sums over blocks and products of moments are in double. So sums are wrong by
/// gamma_m times the sum of absolute terms, at most P_abs(box) times the number of tuples; the denominator is at least (1 - eps) exp(-rho) times
/// it. The quotient of two sums that are wrong by eta times the denominator, the numerator at most V_c times it, is wrong by 2 eta/(1 - eta) V_c.
/// (4) The last rounding costs 2u V_c. <b>Range:</b> |x| &lt;= 1 and |u_col| &lt;= max(1, 2^(k-1) box), so no monomial exceeds 2^60, and moments are
/// averages. A product that underflows is wrong by 2^-150 and meets at most 2^60 r coefficients (at most 2 each): below 2^-60, which is less than u exp(-rho)
/// for rho up to <see cref="ExpPolynomial.MaxHalfRange"/>, covered by the spare roundings in m.</para>
/// <para><b>Gradient.</b> Let E = (1 + eps) exp(Delta) - 1, t = tanh(Delta/2 + atanh(eps)/2), h_i = sum_c |g_ic| range_c (g upstream),
/// G_i = sum_c |g_ic| V_c, mu_s = min(1, (1 + E)/(1 - E) exp(2 rho)/S_s) (the weights of all tuples with one key of set s add up to at most that),
/// eta' = eta/(1 - eta) &lt;= 1/2, v = 2 (k + 2) u, and A the reach of <see cref="TensorShape.Reach"/> times |scale|. With y = g.(v1 v2 …) and r = sum P y the exact
/// dS = P (y - r), and the approximate one has its r~ within the range of y too, so that, over the tuples of a row,
/// sum |dS~ - dS| &lt;= 2 t h + t h, and |dS~ - dS| &lt;= P h (2E/(1 - E) + t) for each (as for matrices, Hu et al., arXiv 2406.03136; nothing
/// changes for tuples). Hence, the rounding of sums as in (3) added — for dQ 2 eta' for each quotient and once more for r: at most 8 eta' G;
/// for dK the sum over queries meets the quotients of r and of the denominator: at most 9 mu eta' G; for dV 3 mu eta' —:
/// |dQ_il| error &lt;= A_l (3 t h_i + 8 eta' G_i + v (h_i + G_i)); |dK_s,jl| &lt;= A_sl sum_i |q_il| mu_s (h_i (2E/(1 - E) + t) + 9 eta' G_i + v (h_i + G_i));
/// |dV_s,jc| &lt;= sum_i |g_ic| prod_(other sets) max|v_c| mu_s (2E/(1 - E) + 3 eta' + v); each plus 2^-149.</para>
/// </remarks>
internal sealed partial class TensorHead(KernelSet kernels) : IDisposable
{
    private const double UnitRoundoff = 1.0 / (1 << 24);

    private TensorInput _input;
    private TensorShape _shape = null!;
    private ExpPolynomial _polynomial = null!;
    private MonomialBasis _basis = null!;
    private double[][] _valueMaxima = [];
    private double[] _valueProducts = [];
    private double[] _valueRanges = [];

    /// <summary>Bound of every output, in units of the products of values.</summary>
    public double ErrorBound { get; private set; }

    /// <summary>r, once <see cref="Begin"/> has chosen.</summary>
    public int Features => _basis.Count;

    /// <summary>What was chosen, for people.</summary>
    public string Description =>
        FormattableString.Invariant($"degree {_basis.Degree}, {_basis.Count} features of {_basis.Width} columns, scores within ±{_shape.HalfRange:g3}");

    /// <summary>Reads a call, measures it, and chooses form and degree: the cheapest that meets the tolerance.</summary>
    /// <returns>Null when it can be approximated, otherwise why not.</returns>
    public string? Begin(in TensorInput input, double tolerance, int? forced)
    {
        _input = input;
        if (!MeasureValues())
        {
            return "a value is not finite or near the end of the range of float32";
        }

        var forms = new TensorShape[] { new(input, centred: false), new(input, centred: true) };
        if (!forms.All(form => double.IsFinite(form.HalfRange)) || !float.IsFinite(input.Scale))
        {
            return "a query, a key or the scale is not finite";
        }

        double range = _valueRanges.Max(), best = double.PositiveInfinity;
        foreach (TensorShape form in forms.DistinctBy(form => form.HalfRange))
        {
            best = forced is { } degree ? Force(form, degree, best) : Choose(form, tolerance * range, best);
        }

        string reach = FormattableString.Invariant($"±{forms.Min(form => form.HalfRange):g3}");
        return double.IsFinite(best) ? null
            : forced is { } g ? $"no certificate for scores within {reach} at degree {g}"
            : $"scores within {reach} need more features than {input.Queries.Rows} queries and {input.Tuples:0} tuples of keys repay";
    }

    /// <summary>The certificate of the gradients that <see cref="Backward"/> computed.</summary>
    public TensorGradientCertificate CertifyGradient(Matrix dOutput)
    {
        (double delta, double eta) = Errors(_shape, _polynomial.Error, _polynomial.EvaluateAbsolute(_shape.Box), _basis.Degree, _basis.Count);
        double relative = ((1 + _polynomial.Error) * Math.Exp(delta)) - 1;
        double t = Math.Tanh((delta / 2) + (Math.Atanh(_polynomial.Error) / 2));
        double etaPrime = eta / (1 - eta), v = 2 * (_input.Order + 2) * UnitRoundoff;
        double entry = relative < 1 ? 2 * relative / (1 - relative) : double.PositiveInfinity;
        int sets = _input.Keys.Count, width = _input.Queries.Columns;
        double scale = Math.Abs((double)_input.Scale), largestReach = 0, dQueries = 0;
        double[] reach = new double[width], weighted = new double[width], totals = new double[dOutput.Columns];
        for (int l = 0; l < width; l++)
        {
            largestReach = Math.Max(largestReach, _shape.Reach(l));
        }

        for (int i = 0; i < dOutput.Rows; i++)
        {
            double h = 0, g = 0;
            for (int c = 0; c < totals.Length; c++)
            {
                double upstream = Math.Abs((double)dOutput.Row(i)[c]);
                h += upstream * _valueRanges[c];
                g += upstream * _valueProducts[c];
                totals[c] += upstream;
            }

            dQueries = Math.Max(dQueries, (3 * t * h) + (8 * etaPrime * g) + (v * (h + g)));
            double key = (h * (entry + t)) + (9 * etaPrime * g) + (v * (h + g));
            for (int l = 0; l < width; l++)
            {
                weighted[l] += Math.Abs((double)_input.Queries.Row(i)[l]) * key;
            }
        }

        double[] dKeys = new double[sets], dValues = new double[sets];
        for (int s = 0; s < sets; s++)
        {
            double mu = Math.Min(1, (1 + relative) / (1 - relative) * Math.Exp(2 * _shape.HalfRange) / _input.Keys[s].Rows);
            for (int l = 0; l < width; l++)
            {
                dKeys[s] = Math.Max(dKeys[s], scale * _shape.Reach(l, s) * weighted[l] * mu);
            }

            for (int c = 0; c < totals.Length; c++)
            {
                double others = 1;
                for (int other = 0; other < sets; other++)
                {
                    others *= other == s ? 1 : _valueMaxima[other][c];
                }

                dValues[s] = Math.Max(dValues[s], totals[c] * others * mu * (entry + (3 * etaPrime) + v));
            }

            dKeys[s] = Finish(dKeys[s]);
            dValues[s] = Finish(dValues[s]);
        }

        return new TensorGradientCertificate(Finish(scale * largestReach * dQueries), dKeys, dValues, AttentionPath.LowRank, Description);

        double Finish(double bound) => etaPrime <= 0.5 && bound < float.MaxValue / 2 ? bound + float.Epsilon : double.PositiveInfinity;
    }

    private bool MeasureValues()
    {
        int columns = _input.ValueWidth;
        _valueMaxima = [.. _input.Values.Select(_ => new double[columns])];
        _valueProducts = new double[columns];
        _valueRanges = new double[columns];
        for (int c = 0; c < columns; c++)
        {
            // The products over all tuples have their extremes where those of the factors meet.
            double low = 1, high = 1, product = 1;
            for (int s = 0; s < _input.Values.Count; s++)
            {
                float least = float.PositiveInfinity, largest = float.NegativeInfinity;
                for (int j = 0; j < _input.Values[s].Rows; j++)
                {
                    least = Math.Min(least, _input.Values[s].Row(j)[c]);
                    largest = Math.Max(largest, _input.Values[s].Row(j)[c]);
                }

                ReadOnlySpan<double> corners = [low * least, low * largest, high * least, high * largest];
                (low, high) = (Math.Min(Math.Min(corners[0], corners[1]), Math.Min(corners[2], corners[3])), Math.Max(Math.Max(corners[0], corners[1]), Math.Max(corners[2], corners[3])));
                _valueMaxima[s][c] = Math.Max(Math.Abs((double)least), Math.Abs((double)largest));
                product *= _valueMaxima[s][c];
            }

            (_valueProducts[c], _valueRanges[c]) = (product, high - low);
            if (!(product < float.MaxValue / 4))
            {
                return false;
            }
        }

        return columns > 0;
    }

    /// <summary>Takes the cheapest degree of a form that meets the bound and costs less than <paramref name="least"/>; returns the least cost.</summary>
    private double Choose(TensorShape form, double allowed, double least)
    {
        int queries = _input.Queries.Rows, width = _input.ValueWidth;
        double exact = AttentionCost.Exact(queries, _input.Tuples, _input.Queries.Columns, width);
        for (int degree = 0; degree <= ExpPolynomial.MaxDegree && form.HalfRange <= ExpPolynomial.MaxHalfRange; degree++)
        {
            double features = MonomialBasis.CountOf(form.Columns.Length, degree);
            double cost = AttentionCost.LowRank(queries, _input.KeyCount, features, width);
            if (cost >= Math.Min(exact, least) || features > 1 << 20)
            {
                break;
            }

            // The estimate is never more than 9 % above the true error: what fails with it and without rounding need not be fitted.
            double estimate = ExpPolynomial.EstimateError(form.HalfRange, degree) * 0.9;
            if (Bound(form, estimate, 0, degree, (int)features) <= allowed
                && Take(form, degree, allowed))
            {
                return cost;
            }
        }

        return least;
    }

    private double Force(TensorShape form, int degree, double least)
    {
        double before = ErrorBound;
        return form.HalfRange <= ExpPolynomial.MaxHalfRange && MonomialBasis.CountOf(form.Columns.Length, degree) <= 1 << 20
            && Take(form, degree, double.IsFinite(least) ? before : double.MaxValue) ? 1 : least;
    }

    /// <summary>Fits the polynomial and keeps the form if the bound is small enough.</summary>
    private bool Take(TensorShape form, int degree, double allowed)
    {
        ExpPolynomial polynomial = ExpPolynomial.Fit(form.HalfRange, degree);
        int features = (int)MonomialBasis.CountOf(form.Columns.Length, degree);
        double bound = Bound(form, polynomial.Error, polynomial.EvaluateAbsolute(form.Box), degree, features);
        if (!(bound <= allowed))
        {
            return false;
        }

        (_shape, _polynomial, ErrorBound) = (form, polynomial, bound);
        if (_basis is null || (_basis.Width, _basis.Degree) != (form.Columns.Length, degree))
        {
            _basis = new MonomialBasis(form.Columns.Length, degree);
        }

        return true;
    }

    /// <summary>The statement of the remarks.</summary>
    private double Bound(TensorShape form, double epsilon, double absolute, int degree, int features)
    {
        (double delta, double eta) = Errors(form, epsilon, absolute, degree, features);
        if (!(eta < 1))
        {
            return double.PositiveInfinity;
        }

        double weights = Math.Tanh((delta / 2) + (Math.Atanh(epsilon) / 2)), rounding = (2 * eta / (1 - eta)) + (2 * UnitRoundoff), bound = 0;
        for (int c = 0; c < _valueRanges.Length; c++)
        {
            bound = Math.Max(bound, (_valueRanges[c] * weights) + (_valueProducts[c] * rounding));
        }

        return bound + float.Epsilon;
    }

    /// <summary>Delta and eta of the remarks; infinite where nothing is promised.</summary>
    private (double Delta, double Eta) Errors(TensorShape form, double epsilon, double absolute, int degree, int features)
    {
        int order = _input.Order;
        if (!(epsilon < 1) || degree * Math.Log2(Math.Max(1, Math.ScaleB(form.Box, order - 1))) > 60)
        {
            return (double.PositiveInfinity, double.PositiveInfinity);
        }

        double roundings = (order * (degree + (Block / 16) + 18)) + features + 16;
        double gamma = roundings * UnitRoundoff / (1 - (roundings * UnitRoundoff));
        return ((order * UnitRoundoff * form.Box * (1 + 1e-3)) + (4 * UnitRoundoff), gamma * absolute * Math.Exp(form.HalfRange) / (1 - epsilon));
    }
}

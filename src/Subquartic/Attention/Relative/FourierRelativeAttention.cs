using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;

namespace Subquartic.Attention.Relative;

/// <summary>Relative attention in O(N log N) for fixed width, support and degree: the polynomial of a score, multiplied out over multi-indices
/// alpha on the entries of W, is a sum of diagonal times Toeplitz times diagonal matrices, and those multiply by fast Fourier transforms
/// (Alman and Song, arXiv 2505.11892). A bias b_(i-j) is one more factor exp(b_t) of every Toeplitz sequence. Calls that no certificate covers, or
/// that cost more than all pairs, are computed in full.</summary>
/// <remarks>
/// <para>For true rotary embedding rotate first and use <see cref="LowRankAttention"/>: C(d + g, g) features instead of C(2d + g, g) terms.</para>
/// <para><b>Statement.</b> Let |P(s) exp(-s) - 1| &lt;= eps on [-box, box], box = |Scale| max_i sum_entries |q_ip| max_t|W_t| max_j|k_jq|, e = 2^-53. Then
/// |o_ic - o*_ic| &lt;= range_c tanh(2 e box + atanh(eps)/2) + (En_i + V_c Ed_i)/(D_i - Ed_i) + 2e V_c with the computed denominator D_i, V_c = max|v_c| and
/// En_i, Ed_i = sum_alpha |c_alpha mult(alpha) a_alpha,i| F |w_alpha|_2 |x_alpha|_2 + gamma_m P_abs(box) (V_c or 1) sum_j exp(b_(i-j)), F the
/// <see cref="ToeplitzTransform.ErrorFactor"/>, x_alpha the columns that are transformed together, m = 3 g + r + 16.</para>
/// <para><b>Proof.</b> The weights exp(b) P(s) stand to the true ones as 1 +- eps (coordinates are scaled by powers of two; the product with Scale rounds
/// once or twice), which gives the first term as in <see cref="TensorHead"/>. What is computed of a numerator is the sum over alpha of
/// products by transforms, whose errors are as stated, and each of whose other terms passes through fewer than m roundings. The quotients of
/// sums that are wrong by En and Ed differ by (En + |o| Ed) over the computed denominator. Coordinates are at most 1 after scaling, so that nothing overflows;
/// biases spread over more than 200 are refused, so that nothing that underflows matters.</para>
/// </remarks>
public sealed partial class FourierRelativeAttention
{
    private const double UnitRoundoff = 1.0 / (1L << 53);
    private const double WidestBias = 200, LargestValue = 1e150;

    private readonly double _tolerance;

    /// <summary>Creates the strategy.</summary>
    /// <param name="tolerance">Largest error of an output, as a fraction of the range of V; above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public FourierRelativeAttention(double tolerance)
    {
        _tolerance = tolerance > 0 ? tolerance : throw new ArgumentOutOfRangeException(nameof(tolerance), tolerance, "must be above 0");
    }

    /// <summary>The degree to use whatever it costs and promises, or null to choose: for experiments.</summary>
    public int? Degree { get; init; }

    /// <summary>Multiply-adds of the last output.</summary>
    public double MultiplyAdds { get; private set; }

    /// <summary>Multiply-adds of computing all pairs.</summary>
    /// <param name="input">The call.</param>
    /// <returns>N^2 (2 entries + d_v + 1).</returns>
    public static double DenseMultiplyAdds(RelativeInput input)
    {
        ArgumentNullException.ThrowIfNull(input);
        return (double)input.Tokens * input.Tokens * ((2 * input.Entries.Count) + input.ValueWidth + 1);
    }

    /// <summary>Computes relative attention.</summary>
    /// <param name="input">The call.</param>
    /// <param name="certificate">How it was computed, and how well. Computed in full it has no bound.</param>
    /// <returns>O (N, d_v).</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public double[,] Attend(RelativeInput input, out Certificate certificate)
    {
        ArgumentNullException.ThrowIfNull(input);
        input.Check();
        int tokens = input.Tokens;
        if (Plan(input, out RelativeTerms? terms) is { } refusal)
        {
            MultiplyAdds = DenseMultiplyAdds(input);
            certificate = new Certificate(double.NaN, AttentionPath.Exact, refusal, 1, 1, tokens, tokens);
            return ReferenceRelativeAttention.Attend(input);
        }

        RelativeSums sums = Sum(input, terms!);
        MultiplyAdds = terms!.Transform.MultiplyAdds + ((double)tokens * terms.Basis.Count * (input.ValueWidth + 6));
        certificate = new Certificate(sums.Bound, AttentionPath.LowRank, terms.Description, 1, 0, tokens, 0);
        return sums.Output;
    }

    /// <summary>Chooses the polynomial; returns why not, or null.</summary>
    private string? Plan(RelativeInput input, out RelativeTerms? terms)
    {
        terms = null;
        double box = RelativeTerms.BoxOf(input), spread = input.Bias is { } bias ? bias.Max() - bias.Min() : 0;
        double largest = 0;
        foreach (double value in input.Values)
        {
            largest = Math.Max(largest, Math.Abs(value)); // keeps a NaN
        }

        if (!(box <= ExpPolynomial.MaxHalfRange && spread <= WidestBias && largest <= LargestValue))
        {
            return FormattableString.Invariant($"no polynomial for scores within ±{box:g3}, biases that spread over {spread:g3} and values up to {largest:g3}");
        }

        // tanh(atanh(eps)/2) <= tolerance, solved for eps; half of the tolerance is left for rounding.
        ExpPolynomial? polynomial = Degree is { } degree
            ? ExpPolynomial.Fit(box, degree)
            : ExpPolynomial.For(box, _tolerance >= 1 ? 0.5 : Math.Tanh(2 * Math.Atanh(_tolerance / 2)));
        if (polynomial is not { Error: < 1 })
        {
            return FormattableString.Invariant($"no certificate for scores within ±{box:g3}");
        }

        double count = MonomialBasis.CountOf(input.Entries.Count, polynomial.Degree);
        double length = 4.0 * input.Tokens, transforms = count * (input.ValueWidth + 4);
        if (Degree is null && transforms * 2.5 * length * Math.Log2(length) > DenseMultiplyAdds(input))
        {
            return FormattableString.Invariant($"scores within ±{box:g3} need {count:0} terms, more than {input.Tokens} tokens repay");
        }

        if (count * input.Tokens > 1 << 26)
        {
            return FormattableString.Invariant($"{count:0} terms of {input.Tokens} tokens are too many to hold");
        }

        terms = new RelativeTerms(input, polynomial);
        return null;
    }

    private static RelativeSums Sum(RelativeInput input, RelativeTerms terms)
    {
        int tokens = input.Tokens, columns = input.ValueWidth;
        var errors = new double[columns + 1, tokens];
        var sums = new double[columns + 1][];
        double[][] x = [.. Enumerable.Range(0, columns + 1).Select(_ => new double[tokens])], y = [.. x.Select(_ => new double[tokens])];
        for (int c = 0; c <= columns; c++)
        {
            sums[c] = new double[tokens];
        }

        for (int alpha = 0; alpha < terms.Basis.Count; alpha++)
        {
            System.Numerics.Complex[] transform = terms.Transform.Prepare(terms.Distances[alpha]);
            for (int j = 0; j < tokens; j++)
            {
                for (int c = 0; c <= columns; c++)
                {
                    x[c][j] = terms.Keys[alpha][j] * (c < columns ? input.Values[j, c] : 1);
                }
            }

            double norm = Norm(terms.Distances[alpha]) * terms.Transform.ErrorFactor * Math.Abs(terms.Coefficients[alpha]);
            for (int c = 0; c <= columns; c += 2)
            {
                bool pair = c < columns;
                terms.Transform.Multiply(transform, x[c], pair ? x[c + 1] : [], y[c], pair ? y[c + 1] : []);
                double together = norm * Math.Sqrt(x[c].Sum(v => v * v) + (pair ? x[c + 1].Sum(v => v * v) : 0));
                for (int part = c; part <= c + (pair ? 1 : 0); part++)
                {
                    for (int i = 0; i < tokens; i++)
                    {
                        sums[part][i] += terms.Coefficients[alpha] * terms.Queries[alpha][i] * y[part][i];
                        errors[part, i] += Math.Abs(terms.Queries[alpha][i]) * together;
                    }
                }
            }
        }

        double gamma = Gamma((3 * terms.Basis.Degree) + terms.Basis.Count + 16) * terms.Polynomial.EvaluateAbsolute(terms.Box);
        var result = new RelativeSums(
            new double[tokens, columns], sums[columns], new double[tokens, columns], new double[tokens], new double[columns], new double[columns],
            Math.Tanh((2 * UnitRoundoff * terms.Box) + (Math.Atanh(terms.Polynomial.Error) / 2)));
        for (int i = 0; i < tokens; i++)
        {
            result.DenominatorErrors[i] = (errors[columns, i] * 1.01) + (gamma * terms.BiasMass(i));
        }

        for (int c = 0; c < columns; c++)
        {
            (double low, double high) = (double.PositiveInfinity, double.NegativeInfinity);
            for (int j = 0; j < tokens; j++)
            {
                (low, high) = (Math.Min(low, input.Values[j, c]), Math.Max(high, input.Values[j, c]));
            }

            double largest = Math.Max(Math.Abs(low), Math.Abs(high));
            (result.Ranges[c], result.Maxima[c]) = (high - low, largest);
            for (int i = 0; i < tokens; i++)
            {
                result.Output[i, c] = sums[c][i] / sums[columns][i];
                double numerator = (errors[c, i] * 1.01) + (gamma * terms.BiasMass(i) * largest);
                double left = sums[columns][i] - result.DenominatorErrors[i];
                result.OutputErrors[i, c] = left > 0 ? ((numerator + (largest * result.DenominatorErrors[i])) / left) + (2 * UnitRoundoff * largest) : double.PositiveInfinity;
            }
        }

        return result;
    }

    private static double Gamma(double roundings) => roundings * UnitRoundoff / (1 - (roundings * UnitRoundoff));

    private static double Norm(double[] x) => Math.Sqrt(x.Sum(value => value * value));

    /// <summary>What the passes over the terms found.</summary>
    /// <param name="Output">O~ (N, d_v).</param>
    /// <param name="Denominators">D~, N numbers.</param>
    /// <param name="OutputErrors">What rounding may have done to the outputs, (N, d_v).</param>
    /// <param name="DenominatorErrors">Ed.</param>
    /// <param name="Ranges">range_c.</param>
    /// <param name="Maxima">V_c.</param>
    /// <param name="Distance">Largest total variation between approximate and true weights.</param>
    private sealed record RelativeSums(
        double[,] Output, double[] Denominators, double[,] OutputErrors, double[] DenominatorErrors, double[] Ranges, double[] Maxima, double Distance)
    {
        /// <summary>The certificate of the output.</summary>
        public double Bound => Enumerable.Range(0, Ranges.Length)
            .Max(c => Enumerable.Range(0, Denominators.Length).Max(i => OutputErrors[i, c]) + (Ranges[c] * Distance));
    }
}

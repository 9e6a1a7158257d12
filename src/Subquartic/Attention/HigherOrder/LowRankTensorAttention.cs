using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>Near-linear tensor attention: exp is replaced by a polynomial of the score, whose monomials factor over query and keys with one
/// multi-index, so that the n^(k-1) side never appears: the sum over tuples of k1^alpha k2^alpha … v1 v2 … is the elementwise product of
/// the sums over each set (Alman and Song, arXiv 2310.04064, theorem 1.3; r = C(d + g, g) features instead of the paper's C(3(d + g), 3g)).
/// (L + S_1 + … ) r (d_v + 2) multiply-adds. Every result meets the tolerance or is computed exactly, and the certificate says so.</summary>
/// <remarks>The gradient replaces the weights in that of exact attention by the approximate ones (chained low rank, as arXiv 2402.04497
/// for matrices): all of it from moments sum k^alpha v_c k_l of every set and sum u^alpha g_c q_l of the queries, r (d_v + 1) (d + 1)
/// numbers each. The bounds are proved in <see cref="TensorHead"/>.</remarks>
public sealed class LowRankTensorAttention : IDisposable
{
    private readonly TensorHead _head;
    private readonly ExactTensorAttention _exact;

    /// <summary>Creates the strategy.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="tolerance">Largest error of any output entry, as a fraction of the range of the products of values; above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public LowRankTensorAttention(KernelSet kernels, double tolerance)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        if (!(tolerance > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(tolerance), tolerance, "must be above 0");
        }

        Tolerance = tolerance;
        _head = new TensorHead(kernels);
        _exact = new ExactTensorAttention(kernels);
    }

    /// <summary>Largest error of any output entry, as a fraction of the range of the products of values (over all tuples, the largest
    /// of all columns).</summary>
    public double Tolerance { get; }

    /// <summary>The degree to use whatever it costs and promises, or null to choose: for experiments. Scores out of reach of any
    /// certificate are refused all the same.</summary>
    public int? Degree { get; init; }

    /// <summary>Multiply-adds of the last output: (L + S_1 + …) r (d_v + 2), or those of exact attention.</summary>
    public double MultiplyAdds { get; private set; }

    /// <summary>Computes tensor attention.</summary>
    /// <param name="input">The call.</param>
    /// <param name="output">O (L, d_v), overwritten; must not overlap the input.</param>
    /// <returns>How it was computed, and how well.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public Certificate Attend(in TensorInput input, Matrix output)
    {
        input.Check(output);
        if (_head.Begin(input, Tolerance, Degree) is { } refusal)
        {
            MultiplyAdds = AttentionCost.Exact(input.Queries.Rows, input.Tuples, input.Queries.Columns, input.ValueWidth);
            return _exact.Attend(input, output) with { Reason = refusal };
        }

        MultiplyAdds = AttentionCost.LowRank(input.Queries.Rows, input.KeyCount, _head.Features, input.ValueWidth);
        _head.Attend(output);
        return new Certificate(_head.ErrorBound, AttentionPath.LowRank, _head.Description, 1, 0, input.Queries.Rows, 0);
    }

    /// <summary>Adds the gradient of sum(dOutput * O), the weights of exact attention replaced by the approximate ones.</summary>
    /// <param name="input">The call.</param>
    /// <param name="dOutput">(L, d_v).</param>
    /// <param name="gradient">Added to.</param>
    /// <returns>How it was computed, and how well. What was in <paramref name="gradient"/> before, and its rounding, is not counted.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public TensorGradientCertificate Backward(in TensorInput input, Matrix dOutput, in TensorGradient gradient)
    {
        input.Check(dOutput, gradient);
        if (_head.Begin(input, Tolerance, Degree) is { } refusal)
        {
            _exact.Backward(input, dOutput, gradient);
            double[] none = [.. input.Keys.Select(_ => double.NaN)];
            return new TensorGradientCertificate(double.NaN, none, none, AttentionPath.Exact, refusal);
        }

        _head.Backward(dOutput, gradient);
        return _head.CertifyGradient(dOutput);
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose() => _head.Dispose();
}

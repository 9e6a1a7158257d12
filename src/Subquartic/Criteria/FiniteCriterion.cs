namespace Subquartic.Criteria;

/// <summary>What one polynomial for all scores of a head costs and promises: where the theorem's "almost quadratic" begins at a given
/// width, score range and tolerance (docs/theory.md, statements 4, 5 and 7).</summary>
/// <param name="HalfRange">B: the polynomial serves all |score| &lt;= B.</param>
/// <param name="Width">d, width of queries and keys.</param>
/// <param name="ValueWidth">d_v, width of values.</param>
/// <param name="Degree">g, least degree within the tolerance; null when none is, or B is beyond <see cref="ExpPolynomial.MaxHalfRange"/>.</param>
/// <param name="PolynomialError">Certified relative error of the weights, or null.</param>
/// <param name="OutputError">What becomes of it in the output, tanh(atanh(eps)/2), as a fraction of the range of V, rounding aside; or null.</param>
/// <param name="Features">r = C(d + g, g), or null.</param>
public sealed record FiniteCriterion(
    double HalfRange, int Width, int ValueWidth, int? Degree, double? PolynomialError, double? OutputError, double? Features)
{
    /// <summary>Finds the polynomial.</summary>
    /// <param name="halfRange">B, at least 0.</param>
    /// <param name="width">d.</param>
    /// <param name="valueWidth">d_v.</param>
    /// <param name="tolerance">Largest error of an output, as a fraction of the range of V; above 0, below 1.</param>
    /// <returns>The criterion.</returns>
    public static FiniteCriterion For(double halfRange, int width, int valueWidth, double tolerance)
    {
        // tanh(atanh(eps)/2) <= tolerance, solved for eps.
        ExpPolynomial? polynomial = ExpPolynomial.For(halfRange, Math.Tanh(2 * Math.Atanh(tolerance)));
        return new FiniteCriterion(
            halfRange, width, valueWidth, polynomial?.Degree, polynomial?.Error,
            polynomial is null ? null : Math.Tanh(Math.Atanh(polynomial.Error) / 2),
            polynomial is null ? null : MonomialBasis.CountOf(width, polynomial.Degree));
    }

    /// <summary>The next half-range on a grid of eight steps an octave, so that few polynomials serve many heads.</summary>
    /// <param name="halfRange">At least 0.</param>
    /// <returns>At least as much, by at most one part in eight.</returns>
    public static double RoundUp(double halfRange)
    {
        if (!(halfRange > 0) || !double.IsFinite(halfRange))
        {
            return halfRange;
        }

        double step = Math.ScaleB(1, Math.ILogB(halfRange) - 3);
        return Math.Ceiling(halfRange / step) * step;
    }

    /// <summary>Multiply-adds of low-rank attention; infinite where there is no polynomial.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <returns><see cref="AttentionCost.LowRank"/>.</returns>
    public double LowRank(double queries, double keys) =>
        Features is { } features ? AttentionCost.LowRank(queries, keys, features, ValueWidth) : double.PositiveInfinity;

    /// <summary>Multiply-adds of exact attention.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <returns><see cref="AttentionCost.Exact"/>.</returns>
    public double Exact(double queries, double keys) => AttentionCost.Exact(queries, keys, Width, ValueWidth);

    /// <summary>Whether the polynomial needs fewer multiply-adds than exact attention.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <returns>Whether it is cheaper.</returns>
    public bool IsCheaper(double queries, double keys) => LowRank(queries, keys) < Exact(queries, keys);

    /// <summary>The side n from which n^2 queries over ratio n^2 keys are cheaper by the polynomial:
    /// n^2 = (1 + ratio) r (d_v + 2) / (ratio (d + d_v)).</summary>
    /// <param name="keysPerQuery">Keys per query, above 0: L_K / n_K of the schedule.</param>
    /// <returns>n, not rounded; null where there is no polynomial.</returns>
    public double? BreakEvenSide(double keysPerQuery) => Features is { } features
        ? Math.Sqrt((1 + keysPerQuery) * features * (ValueWidth + 2) / (keysPerQuery * (Width + ValueWidth)))
        : null;
}

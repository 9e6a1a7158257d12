namespace Subquartic.Criteria;

/// <summary>On which side of the paper's threshold a head lies: entries R against sqrt(log n), scores B against log n (Ke et al.,
/// arXiv 2501.04377; docs/theory.md, statements 1 and 2).</summary>
/// <remarks>The theorems speak of growth, R = o(sqrt(log n)) and R = Theta(sqrt(log n)), which no single model decides: the verdict
/// says on which side of the line a head stands at one n, with constant 1, and no more. The logarithm is natural.</remarks>
public static class NominalCriterion
{
    /// <summary>sqrt(log n).</summary>
    /// <param name="side">n, at least 1.</param>
    /// <returns>The limit of R.</returns>
    public static double EntryLimit(double side) => Math.Sqrt(Math.Log(side));

    /// <summary>log n.</summary>
    /// <param name="side">n, at least 1.</param>
    /// <returns>The limit of B.</returns>
    public static double ScoreLimit(double side) => Math.Log(side);

    /// <summary>Largest entry of Q and K in the paper's form, scores divided by d, once both sides are balanced:
    /// R = sqrt(d scale max|Q| max|K|), so that |score| &lt;= R^2.</summary>
    /// <param name="width">d.</param>
    /// <param name="scale">Factor on q.k in the model.</param>
    /// <param name="largestQuery">max |Q|.</param>
    /// <param name="largestKey">max |K|.</param>
    /// <returns>R.</returns>
    public static double BalancedEntry(int width, double scale, double largestQuery, double largestKey) =>
        Math.Sqrt(width * scale * largestQuery * largestKey);

    /// <summary>Decides "value &lt; limit" for a quantity that was measured and may be bounded.</summary>
    /// <param name="bound">What the quantity can never exceed, or null when nothing is known.</param>
    /// <param name="measured">Largest value seen.</param>
    /// <param name="limit">The limit.</param>
    /// <returns><see cref="Verdict.Holds"/> when the bound is below the limit, <see cref="Verdict.Fails"/> when a value at or above it was
    /// seen (or one that is not a number), otherwise <see cref="Verdict.Unknown"/>: below it on all that was seen, but not by proof.</returns>
    public static Verdict Decide(double? bound, double measured, double limit) =>
        !(measured < limit) ? Verdict.Fails : bound < limit ? Verdict.Holds : Verdict.Unknown;
}

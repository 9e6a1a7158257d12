using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Models;

namespace Subquartic.Reports;

/// <summary>Multiply-adds of attention over all scales 1, 2, 4, …, n of one head, with keys and values kept.</summary>
/// <param name="Side">n.</param>
/// <param name="Tokens">L_K, of all scales.</param>
/// <param name="RecomputePairs">Pairs if every stage renewed all maps.</param>
/// <param name="Pairs">Pairs with a cache.</param>
/// <param name="RasterPairs">Pairs of next-token generation with a cache.</param>
/// <param name="Exact">Multiply-adds of exact attention.</param>
/// <param name="LowRank">Multiply-adds with one cache of moments: each token enters it once and is answered once.</param>
/// <param name="Regime">"fast", "crossover" (within a factor of 2) or "quartic".</param>
/// <param name="KeyValueBytes">Memory of the keys and values of the head, as float32.</param>
/// <param name="MomentBytes">Memory of its moments, as float64; the same for all sides.</param>
/// <param name="FeatureMap">Multiply-adds of the second stage with the released 32 channels: every scale enlarged (16 taps) and convolved (3 x 3).</param>
/// <param name="DecoderConvolutions">Multiply-adds of the convolutions of the released decoder.</param>
/// <param name="DecoderAttention">Multiply-adds of its four attention blocks of 640 channels, exactly.</param>
public sealed record CostRow(
    int Side, int Tokens, double RecomputePairs, double Pairs, double RasterPairs, double Exact, double LowRank, string Regime,
    double KeyValueBytes, double MomentBytes, double FeatureMap, double DecoderConvolutions, double DecoderAttention);

/// <summary>The calculator: what scores, width and tolerance demand, and where low-rank attention begins to pay.</summary>
/// <param name="Width">d, of queries, keys and values.</param>
/// <param name="HalfRange">B: largest absolute score after centring.</param>
/// <param name="Tolerance">Largest error allowed, as a fraction of the range of V.</param>
/// <param name="Degree">g, or null when no polynomial reaches the tolerance.</param>
/// <param name="PolynomialError">Certified relative error of the weights.</param>
/// <param name="OutputError">What becomes of it in the output, as a fraction of the range of V, rounding aside.</param>
/// <param name="Features">r = C(d + g, g).</param>
/// <param name="BreakEvenTokens">Tokens in one call from which low-rank attention needs fewer multiply-adds.</param>
/// <param name="BreakEvenSide">Least n = 2^j from which it does over all scales, or null up to 2^11.</param>
/// <param name="ThresholdB">log n of the n asked for, which B must stay well below for the theorem to promise n^(2 + o(1)).</param>
/// <param name="Rows">Growing sides.</param>
public sealed record CostReport(
    int Width, double HalfRange, double Tolerance, int? Degree, double? PolynomialError, double? OutputError, double? Features,
    double? BreakEvenTokens, int? BreakEvenSide, double ThresholdB, IReadOnlyList<CostRow> Rows)
{
    private const int LargestExponent = 11;

    /// <summary>Calculates.</summary>
    /// <param name="maxSide">Largest n of the rows, at least 2; rows are the powers of two up to it.</param>
    /// <param name="width">d.</param>
    /// <param name="halfRange">B.</param>
    /// <param name="tolerance">Largest error allowed, as a fraction of the range of V, below 1.</param>
    /// <returns>The report.</returns>
    public static CostReport Create(int maxSide, int width, double halfRange, double tolerance)
    {
        FiniteCriterion polynomial = FiniteCriterion.For(halfRange, width, width, tolerance);
        double? features = polynomial.Features;
        CostRow[] rows = [.. Enumerable.Range(1, LargestExponent).Select(exponent => Row(exponent, width, features))];
        int quartic = Array.FindLastIndex(rows, row => row.LowRank >= row.Exact);
        return new CostReport(
            width, halfRange, tolerance, polynomial.Degree, polynomial.PolynomialError, polynomial.OutputError, features,
            features is { } r ? AttentionCost.BreakEvenTokens(r, width, width) : null, quartic + 1 < rows.Length ? rows[quartic + 1].Side : null,
            Math.Log(maxSide), [.. rows.Where(row => row.Side <= maxSide)]);
    }

    /// <summary>Both costs, in powers of two.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"Multiply-adds of attention over all scales, d = {Width}, |score| up to {HalfRange}, tolerance {Tolerance}", "log2 n",
        new ChartPanel("log2 multiply-adds, exact", [.. Rows.Select(row => (Math.Log2(row.Side), Math.Log2(row.Exact)))]),
        new ChartPanel("log2 multiply-adds, low-rank", [.. Rows.Select(row => (Math.Log2(row.Side), Math.Log2(row.LowRank)))]));

    private static CostRow Row(int exponent, int width, double? features)
    {
        int side = 1 << exponent;
        ScaleSchedule scales = ScaleSchedule.Square([.. Enumerable.Range(0, exponent + 1).Select(k => 1 << k)]);
        double pairs = AttentionCost.KvCachedPairs(scales);
        VqVaeConfig vae = VqVaeConfig.Released;
        double tokens = scales.Last.Tokens;
        int channels = vae.BaseChannels * vae.ChannelMultipliers[^1];
        double decoderAttention = (vae.ResidualBlocks + 2) * AttentionCost.Exact(tokens, tokens, channels, channels);
        double exact = pairs * 2 * width;
        double lowRank = features is { } r ? AttentionCost.LowRank(scales.Tokens, scales.Tokens, r, width) : double.PositiveInfinity;
        return new CostRow(
            side, scales.Tokens, AttentionCost.RecomputePairs(scales), pairs, AttentionCost.RasterCachedPairs(side), exact, lowRank,
            2 * lowRank <= exact ? "fast" : lowRank < 2 * exact ? "crossover" : "quartic",
            2.0 * sizeof(float) * width * scales.Tokens, features is { } count ? count * (width + 1) * sizeof(double) : double.PositiveInfinity,
            AttentionCost.FeatureMap(side, exponent + 1, vae.CodeChannels), (vae.DecoderFlops(scales.Last) / 2.0) - decoderAttention, decoderAttention);
    }
}

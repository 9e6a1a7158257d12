using Subquartic.Generation;

namespace Subquartic.Criteria;

/// <summary>What attention costs, counted: pairs of a query and a key over a whole schedule of scales, and multiply-adds of exact
/// and of low-rank attention. Counts are doubles, exact below 2^53.</summary>
/// <remarks>Ke et al., arXiv 2501.04377: token maps of sides h_k = a^(k-1), the last of side n, hence K = 1 + log_a n scales;
/// n_k = h_k^2 tokens, L_k = n_1 + … + n_k.</remarks>
public static class AttentionCost
{
    /// <summary>Pairs of the paper's formal model, in which stage k renews all maps: sum_k L_k^2.</summary>
    /// <param name="scales">The token maps.</param>
    /// <returns>The number of pairs.</returns>
    public static double RecomputePairs(ScaleSchedule scales)
    {
        ArgumentNullException.ThrowIfNull(scales);
        return Enumerable.Range(1, scales.Count).Sum(k => (double)scales.Start(k) * scales.Start(k));
    }

    /// <summary>Pairs of VAR as it is run, with keys and values of earlier scales kept: sum_k n_k L_k.</summary>
    /// <param name="scales">The token maps.</param>
    /// <returns>The number of pairs.</returns>
    public static double KvCachedPairs(ScaleSchedule scales)
    {
        ArgumentNullException.ThrowIfNull(scales);
        return Enumerable.Range(0, scales.Count).Sum(k => (double)scales[k].Tokens * scales.Start(k + 1));
    }

    /// <summary>Pairs within the scales alone: sum_k n_k^2.</summary>
    /// <param name="scales">The token maps.</param>
    /// <returns>The number of pairs.</returns>
    public static double IntraScalePairs(ScaleSchedule scales)
    {
        ArgumentNullException.ThrowIfNull(scales);
        return scales.Sizes.Sum(size => (double)size.Tokens * size.Tokens);
    }

    /// <summary>Pairs of next-token generation in raster order that computes everything anew for each token:
    /// sum_t t^2 over n^2 tokens, about n^6/3.</summary>
    /// <param name="side">n.</param>
    /// <returns>The number of pairs.</returns>
    public static double RasterPairs(int side)
    {
        double tokens = (double)side * side;
        return tokens * (tokens + 1) * (2 * tokens + 1) / 6;
    }

    /// <summary>Pairs of next-token generation in raster order with a key-value cache: sum_t t over n^2 tokens, about n^4/2.</summary>
    /// <param name="side">n.</param>
    /// <returns>The number of pairs.</returns>
    public static double RasterCachedPairs(int side)
    {
        double tokens = (double)side * side;
        return tokens * (tokens + 1) / 2;
    }

    /// <summary><see cref="RecomputePairs"/> in closed form for h_k = a^(k-1), k = 1 … K; about
    /// n^4 / ((1 - a^-2)^2 (1 - a^-4)).</summary>
    /// <param name="ratio">a, above 1; need not be whole.</param>
    /// <param name="scales">K.</param>
    /// <returns>The number of pairs.</returns>
    public static double GeometricRecomputePairs(double ratio, int scales)
    {
        double square = ratio * ratio;
        return (PowerSum(square * square, scales) * square * square - 2 * PowerSum(square, scales) * square + scales) / ((square - 1) * (square - 1));
    }

    /// <summary><see cref="KvCachedPairs"/> in closed form, (L_K^2 + sum_k n_k^2)/2; about n^4 / ((1 - a^-2) (1 - a^-4)).</summary>
    /// <param name="ratio">a, above 1; need not be whole.</param>
    /// <param name="scales">K.</param>
    /// <returns>The number of pairs.</returns>
    public static double GeometricKvCachedPairs(double ratio, int scales)
    {
        double tokens = PowerSum(ratio * ratio, scales);
        return (tokens * tokens + GeometricIntraScalePairs(ratio, scales)) / 2;
    }

    /// <summary><see cref="IntraScalePairs"/> in closed form; about n^4 / (1 - a^-4).</summary>
    /// <param name="ratio">a, above 1; need not be whole.</param>
    /// <param name="scales">K.</param>
    /// <returns>The number of pairs.</returns>
    public static double GeometricIntraScalePairs(double ratio, int scales) => PowerSum(ratio * ratio * ratio * ratio, scales);

    /// <summary>Multiply-adds of exact attention of one head.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="width">c, width of queries and keys.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>L S (c + c_v).</returns>
    public static double Exact(double queries, double keys, int width, int valueWidth) => queries * keys * (width + valueWidth);

    /// <summary>Multiply-adds of low-rank attention of one head: every token costs one multiplication a feature, and every feature
    /// one multiply-add a value column and one for the normaliser.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="features">r = C(c + g, g), <see cref="MonomialBasis.CountOf"/>.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>(L + S) r (c_v + 2).</returns>
    public static double LowRank(double queries, double keys, double features, int valueWidth) => (queries + keys) * features * (valueWidth + 2);

    /// <summary>Predicted time of exact attention of one head, in multiply-adds of its kernel at full width. Unlike <see cref="Exact"/> it counts the
    /// exponential of a pair, about as long as <see cref="ExponentialTime"/> multiply-adds.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="width">c.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>L S (c + c_v + <see cref="ExponentialTime"/>).</returns>
    public static double ExactTime(double queries, double keys, int width, int valueWidth) => queries * keys * (width + valueWidth + ExponentialTime);

    /// <summary>Predicted time of the features of tokens and their products with values or moments, in the unit of <see cref="ExactTime"/>.</summary>
    /// <param name="tokens">Queries or keys.</param>
    /// <param name="features">r.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>tokens r (c_v + 2) <see cref="FeatureFactor"/>.</returns>
    public static double FeatureTime(double tokens, double features, int valueWidth) => tokens * features * (valueWidth + 2) * FeatureFactor;

    /// <summary>Predicted time of what low-rank attention does besides, in the unit of <see cref="ExactTime"/>: centring and measuring of every token,
    /// and starting its passes.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">Keys that are new.</param>
    /// <param name="width">c.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>The time.</returns>
    public static double TokenTime(double queries, double keys, int width, int valueWidth) =>
        PassTime + ((queries + keys) * (width + valueWidth) * TokenFactor);

    /// <summary>An exponential of the exact kernel in its multiply-adds. Like the three figures below it is fitted to the times that
    /// <c>limits scaling --threads 1</c> shows at n = 16 to 128 (Zen 5, AVX-512), which they predict within a fifth; only the choice between the two ways
    /// depends on them.</summary>
    public const double ExponentialTime = 12;

    /// <summary>A multiply-add of <see cref="FeatureTime"/> in those of the exact kernel.</summary>
    public const double FeatureFactor = 1;

    /// <summary>A coordinate or value of a token in multiply-adds of the exact kernel.</summary>
    public const double TokenFactor = 150;

    /// <summary>What a call costs however few its tokens are.</summary>
    public const double PassTime = 5e6;

    /// <summary>Multiply-adds of the second stage: each of K maps is enlarged to n x n by 16 taps and convolved with a 3 x 3 kernel.</summary>
    /// <param name="side">n.</param>
    /// <param name="scales">K.</param>
    /// <param name="channels">C.</param>
    /// <returns>n^2 (16 C + 9 C^2) K.</returns>
    public static double FeatureMap(int side, int scales, int channels) =>
        (double)side * side * ((16.0 * channels) + (9.0 * channels * channels)) * scales;

    /// <summary>Number of tokens, queries and keys alike, from which low-rank attention needs fewer multiply-adds than exact.</summary>
    /// <param name="features">r.</param>
    /// <param name="width">c.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <returns>2 r (c_v + 2) / (c + c_v).</returns>
    public static double BreakEvenTokens(double features, int width, int valueWidth) => 2 * features * (valueWidth + 2) / (width + valueWidth);

    /// <summary>1 + q + … + q^(count-1).</summary>
    private static double PowerSum(double q, int count) => (Math.Pow(q, count) - 1) / (q - 1);
}

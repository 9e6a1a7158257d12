using System.Numerics;

namespace Subquartic.Attention;

/// <summary>The judge of all gradients of attention: plain loops, one head. In double it is what errors are measured against; in float it is the plain loop that the fast
/// path's error is compared with.</summary>
/// <typeparam name="T">The arithmetic.</typeparam>
/// <param name="Output">O (L, c_v).</param>
/// <param name="Queries">dLoss/dQ (L, c).</param>
/// <param name="Keys">dLoss/dK (S, c).</param>
/// <param name="Values">dLoss/dV (S, c_v).</param>
public sealed record ReferenceGradient<T>(T[] Output, T[] Queries, T[] Keys, T[] Values)
    where T : IFloatingPointIeee754<T>
{
    /// <summary>Attention and the gradient of sum(G O): with f the weights, r_i = G_i.O_i and dS_ij = f_ij (G_i.V_j - r_i),
    /// dQ = scale dS K, dK = scale dS^T Q, dV = f^T G (Alman and Song, arXiv 2402.04497, in the notation of softmax).</summary>
    /// <param name="queries">Q (L, c).</param>
    /// <param name="keys">K (S, c).</param>
    /// <param name="values">V (S, c_v).</param>
    /// <param name="gradient">G = dLoss/dO (L, c_v).</param>
    /// <param name="width">c.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="segments">Which keys each query sees.</param>
    /// <returns>Output and gradients.</returns>
    public static ReferenceGradient<T> Compute(T[] queries, T[] keys, T[] values, T[] gradient, int width, T scale, IReadOnlyList<AttentionSegment> segments)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(gradient);
        ArgumentNullException.ThrowIfNull(segments);
        int valueWidth = values.Length / (keys.Length / width);
        var result = new ReferenceGradient<T>(new T[gradient.Length], new T[queries.Length], new T[keys.Length], new T[values.Length]);
        foreach (AttentionSegment segment in segments)
        {
            T[] weights = new T[segment.Keys];
            for (int i = segment.QueryStart; i < segment.QueryStart + segment.Queries; i++)
            {
                ReadOnlySpan<T> g = gradient.AsSpan(i * valueWidth, valueWidth);
                Span<T> output = result.Output.AsSpan(i * valueWidth, valueWidth);
                T largest = T.NegativeInfinity;
                for (int j = 0; j < weights.Length; j++)
                {
                    weights[j] = scale * Dot(queries.AsSpan(i * width, width), keys.AsSpan(j * width, width));
                    largest = T.Max(largest, weights[j]);
                }

                T sum = T.Zero;
                for (int j = 0; j < weights.Length; j++)
                {
                    weights[j] = T.Exp(weights[j] - largest);
                    sum += weights[j];
                }

                for (int j = 0; j < weights.Length; j++)
                {
                    weights[j] /= sum;
                    Add(output, weights[j], values.AsSpan(j * valueWidth, valueWidth));
                }

                T r = Dot(g, output);
                for (int j = 0; j < weights.Length; j++)
                {
                    T change = scale * weights[j] * (Dot(g, values.AsSpan(j * valueWidth, valueWidth)) - r);
                    Add(result.Queries.AsSpan(i * width, width), change, keys.AsSpan(j * width, width));
                    Add(result.Keys.AsSpan(j * width, width), change, queries.AsSpan(i * width, width));
                    Add(result.Values.AsSpan(j * valueWidth, valueWidth), weights[j], g);
                }
            }
        }

        return result;
    }

    private static T Dot(ReadOnlySpan<T> a, ReadOnlySpan<T> b)
    {
        T sum = T.Zero;
        for (int l = 0; l < a.Length; l++)
        {
            sum += a[l] * b[l];
        }

        return sum;
    }

    private static void Add(Span<T> target, T factor, ReadOnlySpan<T> row)
    {
        for (int l = 0; l < target.Length; l++)
        {
            target[l] += factor * row[l];
        }
    }
}

namespace Subquartic.Attention.Relative;

/// <summary>The judge of relative attention and of its gradients: plain loops over all pairs in double precision.</summary>
public static class ReferenceRelativeAttention
{
    /// <summary>o_i = sum_j softmax(s_i)_j v_j.</summary>
    /// <param name="x">The operands.</param>
    /// <returns>O (N, d_v).</returns>
    public static double[,] Attend(RelativeInput x)
    {
        ArgumentNullException.ThrowIfNull(x);
        x.Check();
        var output = new double[x.Tokens, x.ValueWidth];
        for (int i = 0; i < x.Tokens; i++)
        {
            double[] weights = Weights(x, i);
            for (int j = 0; j < weights.Length; j++)
            {
                for (int c = 0; c < x.ValueWidth; c++)
                {
                    output[i, c] += weights[j] * x.Values[j, c];
                }
            }
        }

        return output;
    }

    /// <summary>The gradient of sum(dOutput * O): dS = P (dO V^T - r), dq_i = Scale sum_j dS W k_j and so on.</summary>
    /// <param name="x">The operands.</param>
    /// <param name="dOutput">(N, d_v).</param>
    /// <returns>The gradients.</returns>
    public static RelativeGradient Gradient(RelativeInput x, double[,] dOutput)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(dOutput);
        x.Check();
        int tokens = x.Tokens;
        var gradient = Empty(x);
        for (int i = 0; i < tokens; i++)
        {
            double[] weights = Weights(x, i);
            double[] along = [.. Enumerable.Range(0, tokens).Select(j => Enumerable.Range(0, x.ValueWidth).Sum(c => dOutput[i, c] * x.Values[j, c]))];
            double mean = weights.Zip(along, (p, y) => p * y).Sum();
            for (int j = 0; j < tokens; j++)
            {
                int t = i - j + tokens - 1;
                double dScore = weights[j] * (along[j] - mean);
                gradient.Bias[t] += dScore;
                for (int c = 0; c < x.ValueWidth; c++)
                {
                    gradient.Values[j, c] += weights[j] * dOutput[i, c];
                }

                for (int e = 0; e < x.Entries.Count; e++)
                {
                    RelativeEntry entry = x.Entries[e];
                    (double q, double k, double w) = (x.Queries[i, entry.Query], x.Keys[j, entry.Key], entry.Values[t]);
                    gradient.Queries[i, entry.Query] += x.Scale * dScore * w * k;
                    gradient.Keys[j, entry.Key] += x.Scale * dScore * w * q;
                    gradient.Entries[e][t] += x.Scale * dScore * q * k;
                }
            }
        }

        return gradient;
    }

    /// <summary>Gradients of 0.</summary>
    internal static RelativeGradient Empty(RelativeInput x) => new(
        new double[x.Tokens, x.Queries.GetLength(1)], new double[x.Tokens, x.Keys.GetLength(1)], new double[x.Tokens, x.ValueWidth],
        [.. x.Entries.Select(e => new double[e.Values.Length])], new double[(2 * x.Tokens) - 1]);

    private static double[] Weights(RelativeInput x, int i)
    {
        double[] weights = new double[x.Tokens];
        for (int j = 0; j < weights.Length; j++)
        {
            int t = i - j + x.Tokens - 1;
            foreach (RelativeEntry entry in x.Entries)
            {
                weights[j] += x.Queries[i, entry.Query] * entry.Values[t] * x.Keys[j, entry.Key];
            }

            weights[j] = (x.Scale * weights[j]) + (x.Bias?[t] ?? 0);
        }

        double max = weights.Max(), sum = 0;
        for (int j = 0; j < weights.Length; j++)
        {
            sum += weights[j] = Math.Exp(weights[j] - max);
        }

        for (int j = 0; j < weights.Length; j++)
        {
            weights[j] /= sum;
        }

        return weights;
    }
}

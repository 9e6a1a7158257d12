using System.Numerics;

namespace Subquartic.Attention.Relative;

/// <content>The gradient.</content>
public sealed partial class FourierRelativeAttention
{
    /// <summary>The gradient of sum(dOutput * O), the weights of exact attention replaced by the approximate ones f. With dS = f (dO V^T - r), r of
    /// the approximate output, every term of f W_(i-j) is again diagonal times Toeplitz times diagonal, so that dQ, dK and dV are products and the
    /// gradients of W and b correlations: terms times entries times (d_v + 1) transforms. Computed in full where <see cref="Attend"/> is.</summary>
    /// <param name="input">The call.</param>
    /// <param name="dOutput">(N, d_v).</param>
    /// <param name="path">How it was computed.</param>
    /// <returns>The gradients.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public RelativeGradient Gradient(RelativeInput input, double[,] dOutput, out AttentionPath path)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(dOutput);
        input.Check();
        if (dOutput.GetLength(0) != input.Tokens || dOutput.GetLength(1) != input.ValueWidth)
        {
            throw new ArgumentException("The gradient of the output does not have its shape.", nameof(dOutput));
        }

        path = AttentionPath.Exact;
        if (Plan(input, out RelativeTerms? planned) is not null)
        {
            return ReferenceRelativeAttention.Gradient(input, dOutput);
        }

        path = AttentionPath.LowRank;
        RelativeTerms terms = planned!;
        double[,] output = Sum(input, terms, out double[] denominators, out _);
        int tokens = input.Tokens, columns = input.ValueWidth;

        // Columns beside the values and the upstream gradient: 1, and -r; all of the latter over the denominators.
        double[][] values = [.. Enumerable.Range(0, columns + 1).Select(_ => new double[tokens])], upstream = [.. values.Select(_ => new double[tokens])];
        for (int i = 0; i < tokens; i++)
        {
            values[columns][i] = 1;
            for (int c = 0; c < columns; c++)
            {
                values[c][i] = input.Values[i, c];
                upstream[c][i] = dOutput[i, c] / denominators[i];
                upstream[columns][i] -= upstream[c][i] * output[i, c];
            }
        }

        RelativeGradient gradient = ReferenceRelativeAttention.Empty(input);
        double[] left = new double[tokens], right = new double[tokens], result = new double[tokens], distances = new double[(2 * tokens) - 1];
        double[] queryColumn = new double[tokens], keyColumn = new double[tokens];
        for (int alpha = 0; alpha < terms.Basis.Count; alpha++)
        {
            double coefficient = terms.Coefficients[alpha];
            double[] a = terms.Queries[alpha], b = terms.Keys[alpha], w = terms.Distances[alpha];
            Complex[] transposed = terms.Transform.Prepare(w, transposed: true);
            for (int c = 0; c <= columns; c++)
            {
                Product(a, upstream[c], coefficient, left);
                Product(b, values[c], 1, right);
                Correlate(left, right, w, 1, gradient.Bias);
                if (c < columns)
                {
                    terms.Transform.Multiply(transposed, left, [], result, []);
                    for (int j = 0; j < tokens; j++)
                    {
                        gradient.Values[j, c] += b[j] * result[j];
                    }
                }
            }

            for (int e = 0; e < input.Entries.Count; e++)
            {
                RelativeEntry entry = input.Entries[e];
                Product(w, entry.Values, input.Scale, distances);
                Complex[] forward = terms.Transform.Prepare(distances), backward = terms.Transform.Prepare(distances, transposed: true);
                for (int i = 0; i < tokens; i++)
                {
                    (queryColumn[i], keyColumn[i]) = (input.Queries[i, entry.Query], input.Keys[i, entry.Key]);
                }

                for (int c = 0; c <= columns; c++)
                {
                    Product(b, values[c], 1, right);
                    Product(right, keyColumn, 1, right);
                    terms.Transform.Multiply(forward, right, [], result, []);
                    Product(a, upstream[c], coefficient, left);
                    for (int i = 0; i < tokens; i++)
                    {
                        gradient.Queries[i, entry.Query] += left[i] * result[i];
                    }

                    Product(left, queryColumn, 1, left);
                    Correlate(left, right, w, input.Scale, gradient.Entries[e]);
                    terms.Transform.Multiply(backward, left, [], result, []);
                    for (int j = 0; j < tokens; j++)
                    {
                        gradient.Keys[j, entry.Key] += b[j] * values[c][j] * result[j];
                    }
                }
            }
        }

        return gradient;

        void Correlate(double[] x, double[] y, double[] factors, double scale, double[] target)
        {
            Array.Clear(distances);
            terms.Transform.Correlate(x, y, distances);
            for (int t = 0; t < target.Length; t++)
            {
                target[t] += distances[t] * factors[t] * scale;
            }
        }

        static void Product(double[] x, double[] y, double factor, double[] target)
        {
            for (int i = 0; i < target.Length; i++)
            {
                target[i] = x[i] * y[i] * factor;
            }
        }
    }
}

using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

internal sealed partial class ScalarKernels
{
    public override void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        Check.Attention(queries, keys, values, dOutput, default);
        Check.AttentionGradient(queries, keys, values, dQueries, dKeys, dValues);
        var weights = new double[keys.Rows];
        var slopes = new double[keys.Rows];
        for (int b = 0; b < queries.Batch; b++)
        {
            for (int h = 0; h < queries.Heads; h++)
            {
                var dK = new double[keys.Rows, keys.Width];
                var dV = new double[keys.Rows, values.Width];
                for (int i = 0; i < queries.Rows; i++)
                {
                    ReadOnlySpan<float> query = queries[b, h].Row(i);
                    ReadOnlySpan<float> upper = dOutput[b, h].Row(i);
                    double max = double.NegativeInfinity;
                    for (int j = 0; j < weights.Length; j++)
                    {
                        weights[j] = scale * Dot(query, keys[b, h].Row(j));
                        slopes[j] = Dot(upper, values[b, h].Row(j));
                        max = Math.Max(max, weights[j]);
                    }

                    double sum = 0;
                    double inner = 0;
                    for (int j = 0; j < weights.Length; j++)
                    {
                        weights[j] = Math.Exp(weights[j] - max);
                        sum += weights[j];
                        inner += weights[j] * slopes[j];
                    }

                    inner /= sum;
                    var dQ = new double[query.Length];
                    for (int j = 0; j < weights.Length; j++)
                    {
                        double weight = weights[j] / sum;
                        double slope = scale * weight * (slopes[j] - inner);
                        ReadOnlySpan<float> key = keys[b, h].Row(j);
                        for (int c = 0; c < query.Length; c++)
                        {
                            dQ[c] += slope * key[c];
                            dK[j, c] += slope * query[c];
                        }

                        for (int c = 0; c < upper.Length; c++)
                        {
                            dV[j, c] += weight * upper[c];
                        }
                    }

                    Span<float> row = dQueries[b, h].Row(i);
                    for (int c = 0; c < row.Length; c++)
                    {
                        row[c] += (float)dQ[c];
                    }
                }

                Add(dK, dKeys[b, h]);
                Add(dV, dValues[b, h]);
            }
        }

        static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
        {
            double sum = 0;
            for (int c = 0; c < a.Length; c++)
            {
                sum += (double)a[c] * b[c];
            }

            return sum;
        }

        static void Add(double[,] source, Matrix target)
        {
            for (int i = 0; i < target.Rows; i++)
            {
                Span<float> row = target.Row(i);
                for (int c = 0; c < row.Length; c++)
                {
                    row[c] += (float)source[i, c];
                }
            }
        }
    }
}

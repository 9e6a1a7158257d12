using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

internal sealed partial class ScalarKernels
{
    public override void Attention(
        HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output, HeadTensor statistics)
    {
        Check.Attention(queries, keys, values, output, statistics);
        var weights = new double[keys.Rows];
        for (int b = 0; b < queries.Batch; b++)
        {
            for (int h = 0; h < queries.Heads; h++)
            {
                Matrix k = keys[b, h];
                Matrix v = values[b, h];
                for (int i = 0; i < queries.Rows; i++)
                {
                    ReadOnlySpan<float> query = queries[b, h].Row(i);
                    double max = double.NegativeInfinity;
                    for (int j = 0; j < k.Rows; j++)
                    {
                        ReadOnlySpan<float> key = k.Row(j);
                        double score = 0;
                        for (int c = 0; c < key.Length; c++)
                        {
                            score += (double)query[c] * key[c];
                        }

                        weights[j] = score * scale;
                        max = Math.Max(max, weights[j]);
                    }

                    double sum = 0;
                    for (int j = 0; j < k.Rows; j++)
                    {
                        weights[j] = Math.Exp(weights[j] - max);
                        sum += weights[j];
                    }

                    if (statistics.Buffer is not null)
                    {
                        Span<float> pair = statistics[b, h].Row(i);
                        pair[0] = (float)(max / Math.Log(2));
                        pair[1] = (float)(sum * Math.Exp(max - (pair[0] * Math.Log(2))));
                    }

                    Span<float> result = output[b, h].Row(i);
                    for (int c = 0; c < result.Length; c++)
                    {
                        double total = 0;
                        for (int j = 0; j < k.Rows; j++)
                        {
                            total += weights[j] * v.Row(j)[c];
                        }

                        result[c] = (float)(total / sum);
                    }
                }
            }
        }
    }
}

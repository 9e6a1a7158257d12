using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

internal sealed partial class ScalarKernels
{
    public override void LayerNormModulate(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, float epsilon, Matrix y)
    {
        Check.LayerNorm(x, scale, shift, rowsPerImage, y);
        for (int i = 0; i < x.Rows; i++)
        {
            ReadOnlySpan<float> row = x.Row(i);
            double mean = 0;
            foreach (float value in row)
            {
                mean += value;
            }

            mean /= row.Length;
            double variance = 0;
            foreach (float value in row)
            {
                variance += (value - mean) * (value - mean);
            }

            double inverse = 1 / Math.Sqrt(variance / row.Length + epsilon);
            ReadOnlySpan<float> factor = scale.Row(i / rowsPerImage);
            ReadOnlySpan<float> offset = shift.Row(i / rowsPerImage);
            Span<float> result = y.Row(i);
            for (int j = 0; j < row.Length; j++)
            {
                result[j] = (float)((row[j] - mean) * inverse * (1.0 + factor[j]) + offset[j]);
            }
        }
    }

    public override void Softmax(Matrix x, Matrix y)
    {
        Check.SameShape(x, y);
        for (int i = 0; i < x.Rows; i++)
        {
            ReadOnlySpan<float> row = x.Row(i);
            double max = double.NegativeInfinity;
            foreach (float value in row)
            {
                max = Math.Max(max, value);
            }

            double sum = 0;
            foreach (float value in row)
            {
                sum += Math.Exp(value - max);
            }

            Span<float> result = y.Row(i);
            for (int j = 0; j < row.Length; j++)
            {
                result[j] = (float)(Math.Exp(row[j] - max) / sum);
            }
        }
    }

    public override void Exp(ReadOnlySpan<float> x, Span<float> y)
    {
        Check.SameLength(x, y);
        for (int i = 0; i < x.Length; i++)
        {
            y[i] = (float)Math.Exp(x[i]);
        }
    }

    public override void Silu(ReadOnlySpan<float> x, Span<float> y)
    {
        Check.SameLength(x, y);
        for (int i = 0; i < x.Length; i++)
        {
            y[i] = (float)(x[i] / (1 + Math.Exp(-(double)x[i])));
        }
    }

    public override void Gelu(ReadOnlySpan<float> x, Span<float> y)
    {
        Check.SameLength(x, y);
        for (int i = 0; i < x.Length; i++)
        {
            double u = Math.Sqrt(2 / Math.PI) * (x[i] + 0.044715 * x[i] * x[i] * x[i]);
            y[i] = (float)(x[i] / (1 + Math.Exp(-2 * u)));
        }
    }

    public override void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y, HeadTensor lengths)
    {
        Check.NormalizeHeads(x, factors, y, lengths);
        for (int b = 0; b < x.Batch; b++)
        {
            for (int h = 0; h < x.Heads; h++)
            {
                for (int i = 0; i < x.Rows; i++)
                {
                    ReadOnlySpan<float> row = x[b, h].Row(i);
                    double sum = 0;
                    foreach (float value in row)
                    {
                        sum += (double)value * value;
                    }

                    double length = Math.Max(Math.Sqrt(sum), 1e-12);
                    double factor = (factors.IsEmpty ? 1.0 : factors[h]) / length;
                    if (lengths.Buffer is not null)
                    {
                        lengths[b, h].Row(i)[0] = (float)length;
                    }

                    Span<float> result = y[b, h].Row(i);
                    for (int j = 0; j < row.Length; j++)
                    {
                        result[j] = (float)(row[j] * factor);
                    }
                }
            }
        }
    }
}

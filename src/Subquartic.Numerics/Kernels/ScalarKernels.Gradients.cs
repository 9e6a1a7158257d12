using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

internal sealed partial class ScalarKernels
{
    public override void SiluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add)
    {
        Check.ActivationGradient(x, dy, dx);
        for (int i = 0; i < x.Length; i++)
        {
            dx[i] = (float)((add ? dx[i] : 0.0) + dy[i] * SiluSlope(x[i]));
        }
    }

    public override void GeluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add)
    {
        Check.ActivationGradient(x, dy, dx);
        for (int i = 0; i < x.Length; i++)
        {
            double linear = 2 * Math.Sqrt(2 / Math.PI);
            double square = (double)x[i] * x[i];
            double logistic = 1 / (1 + Math.Exp(-linear * (x[i] + 0.044715 * x[i] * square)));
            double slope = logistic * (1 + (1 - logistic) * x[i] * linear * (1 + 3 * 0.044715 * square));
            dx[i] = (float)((add ? dx[i] : 0.0) + dy[i] * slope);
        }
    }

    public override void AddRows(Matrix rows, Span<float> sum)
    {
        Check.AddRows(rows, sum);
        for (int j = 0; j < rows.Columns; j++)
        {
            double total = sum[j];
            for (int i = 0; i < rows.Rows; i++)
            {
                total += rows.Row(i)[j];
            }

            sum[j] = (float)total;
        }
    }

    public override void LayerNormGradient(
        Matrix x, Matrix scale, int rowsPerImage, float epsilon, Matrix dy, Matrix dx, bool add, Matrix dScale, Matrix dShift)
    {
        Check.LayerNormGradient(x, scale, rowsPerImage, dy, dx, dScale, dShift);
        int columns = x.Columns;
        var normed = new double[columns];
        var g = new double[columns];
        for (int b = 0; b < scale.Rows; b++)
        {
            var scales = new double[columns];
            var shifts = new double[columns];
            for (int i = b * rowsPerImage; i < (b + 1) * rowsPerImage; i++)
            {
                ReadOnlySpan<float> row = x.Row(i);
                ReadOnlySpan<float> upper = dy.Row(i);
                double mean = 0;
                double variance = 0;
                double average = 0;
                double along = 0;
                foreach (float value in row)
                {
                    mean += value / (double)columns;
                }

                foreach (float value in row)
                {
                    variance += (value - mean) * (value - mean) / columns;
                }

                double inverse = 1 / Math.Sqrt(variance + epsilon);
                for (int j = 0; j < columns; j++)
                {
                    normed[j] = (row[j] - mean) * inverse;
                    g[j] = upper[j] * (1.0 + scale.Row(b)[j]);
                    average += g[j] / columns;
                    along += g[j] * normed[j] / columns;
                    scales[j] += upper[j] * normed[j];
                    shifts[j] += upper[j];
                }

                for (int j = 0; dx.Buffer is not null && j < columns; j++)
                {
                    dx.Row(i)[j] = (float)((add ? dx.Row(i)[j] : 0.0) + (g[j] - average - normed[j] * along) * inverse);
                }
            }

            for (int j = 0; dScale.Buffer is not null && j < columns; j++)
            {
                dScale.Row(b)[j] += (float)scales[j];
                dShift.Row(b)[j] += (float)shifts[j];
            }
        }
    }

    public override void NormalizeHeadsGradient(HeadTensor y, ReadOnlySpan<float> factors, HeadTensor lengths, HeadTensor dy, HeadTensor along)
    {
        Check.NormalizeHeadsGradient(y, factors, lengths, dy, along);
        for (int b = 0; b < y.Batch; b++)
        {
            for (int h = 0; h < y.Heads; h++)
            {
                double factor = factors.IsEmpty ? 1 : factors[h];
                for (int i = 0; i < y.Rows; i++)
                {
                    ReadOnlySpan<float> row = y[b, h].Row(i);
                    Span<float> gradient = dy[b, h].Row(i);
                    double inner = 0;
                    for (int j = 0; j < row.Length; j++)
                    {
                        inner += gradient[j] * (row[j] / factor);
                    }

                    for (int j = 0; j < row.Length; j++)
                    {
                        gradient[j] = (float)((gradient[j] - inner * (row[j] / factor)) * factor / lengths[b, h].Row(i)[0]);
                    }

                    if (along.Buffer is not null)
                    {
                        along[b, h].Row(i)[0] = (float)inner;
                    }
                }
            }
        }
    }

    public override void GroupNormGradient(
        FeatureMap x, ReadOnlySpan<float> weight, int groups, Matrix scale, Matrix shift, Matrix inverse, Matrix offset, bool silu,
        FeatureMap dy, FeatureMap dx, bool add, Span<float> dWeight, Span<float> dBias)
    {
        Check.GroupNormGradient(x, weight, groups, scale, shift, inverse, offset, dy, dx, dWeight, dBias);
        int width = x.Channels / groups;
        for (int b = 0; b < x.Batch; b++)
        {
            Matrix pixels = x.Image(b).Pixels();
            Matrix upper = dy.Image(b).Pixels();
            for (int g = 0; g < groups; g++)
            {
                double mean = 0;
                double along = 0;
                for (int c = g * width; c < (g + 1) * width; c++)
                {
                    double bias = 0;
                    double weighted = 0;
                    for (int i = 0; i < pixels.Rows; i++)
                    {
                        (double n, double dz) = At(i, c);
                        bias += dz;
                        weighted += dz * n;
                    }

                    dBias[c] += (float)bias;
                    dWeight[c] += (float)weighted;
                    mean += bias * weight[c] / ((double)pixels.Rows * width);
                    along += weighted * weight[c] / ((double)pixels.Rows * width);
                }

                for (int c = g * width; dx.Buffer is not null && c < (g + 1) * width; c++)
                {
                    for (int i = 0; i < pixels.Rows; i++)
                    {
                        (double n, double dz) = At(i, c);
                        ref float target = ref dx.Image(b).Pixels().Row(i)[c];
                        target = (float)((add ? target : 0.0) + (dz * weight[c] - mean - n * along) * inverse.Row(b)[c]);
                    }
                }
            }

            (double Normal, double Gradient) At(int i, int c)
            {
                double value = pixels.Row(i)[c];
                double slope = silu ? SiluSlope(value * scale.Row(b)[c] + shift.Row(b)[c]) : 1;
                return (value * inverse.Row(b)[c] + offset.Row(b)[c], upper.Row(i)[c] * slope);
            }
        }
    }

    // s (1 + x (1 - s)) with s = 1 / (1 + exp(-x)).
    private static double SiluSlope(double x)
    {
        double logistic = 1 / (1 + Math.Exp(-x));
        return logistic * (1 + x * (1 - logistic));
    }
}

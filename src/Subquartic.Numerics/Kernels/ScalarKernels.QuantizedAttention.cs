using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class ScalarKernels
{
    public override void Quantize(
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, QuantizedHead head, Matrix bias = default)
    {
        Check.Quantize(keys, shift, values, middle, unit, bias);
        head.Begin(keys.Rows, keys.Columns, values.Columns, shift, bias, middle, unit);
        head.KeyUnit = 0;
        for (int row = 0; row < keys.Rows; row++)
        {
            head.KeyUnit = Math.Max(head.KeyUnit, UnitOf(keys.Row(row), shift));
        }

        float inverse = 1 / head.KeyUnit;
        for (int row = 0; row < keys.Rows; row++)
        {
            ReadOnlySpan<float> key = keys.Row(row);
            for (int c = 0; c < head.KeyStride; c++)
            {
                int other = c + head.KeyStride;
                head.Keys[((long)row * head.KeyStride) + c] = Join(
                    (key[c] - shift[c]) * inverse, other < key.Length ? (key[other] - shift[other]) * inverse : 0);
            }
        }

        for (int row = 0; row < values.Rows; row += 2)
        {
            for (int c = 0; c < values.Columns; c++)
            {
                head.Values[(row / 2 * (long)head.ValueStride) + c] = Join(Value(row, c), row + 1 < values.Rows ? Value(row + 1, c) : 0);
            }
        }

        float Value(int row, int c) =>
            Math.Clamp((values.Row(row)[c] - head.Middle[c]) * head.Inverse[c], 1 - QuantizedHead.LargestValue, QuantizedHead.LargestValue - 1);
    }

    public override void QuantizedAttention(
        Matrix queries, float scale, QuantizedHead head, ReadOnlySpan<int> rows, Matrix output, Matrix statistics, Matrix more = default, Matrix moreOutput = default)
    {
        Check.QuantizedAttention(queries, head, rows, output, statistics, more, moreOutput);
        var query = new int[head.Width];
        var weights = new int[QuantizedHead.KeyBlock];
        var plain = new double[QuantizedHead.KeyBlock];
        var sums = new double[head.ValueWidth];
        var moreSums = new double[more.Columns];
        for (int i = 0; i < statistics.Rows; i++)
        {
            int row = rows.IsEmpty ? i : rows[i];
            ReadOnlySpan<float> source = queries.Row(row);
            float unit = UnitOf(source, []), inverse = float.CopySign(1 / unit, scale);
            for (int c = 0; c < query.Length; c++)
            {
                query[c] = (int)MathF.Round(source[c] * inverse);
            }

            float factor = (float)((double)unit * head.KeyUnit * Math.Abs((double)scale) * Math.Log2(Math.E));
            double maximum = double.NegativeInfinity, exponent = maximum, sum = 0, rounded = 0;
            Array.Clear(sums);
            Array.Clear(moreSums);
            for (int start = 0; start < head.Rows; start += weights.Length)
            {
                int count = Math.Min(weights.Length, head.Rows - start);
                double largest = double.NegativeInfinity;
                for (int j = 0; j < count; j++)
                {
                    plain[j] = ((double)Product(query, head, start + j) * factor) + head.Bias[start + j];
                    largest = Math.Max(largest, plain[j]);
                }

                maximum = Math.Max(maximum, largest);
                double next = Math.Max(Math.Ceiling(largest), Math.Ceiling(maximum) - 40), before = Math.Pow(2, exponent - next);
                exponent = next;
                sum *= before;
                rounded = (rounded * before) + count;
                for (int j = 0; j < count; j++)
                {
                    plain[j] = Math.Pow(2, plain[j] - exponent) * QuantizedHead.LargestWeight;
                    weights[j] = (int)Math.Round(plain[j]);
                    sum += weights[j];
                }

                for (int c = 0; c < moreSums.Length; c++)
                {
                    moreSums[c] *= before;
                    for (int j = 0; j < count; j++)
                    {
                        moreSums[c] += plain[j] * more.Row(start + j)[c];
                    }
                }

                for (int c = 0; c < sums.Length; c++)
                {
                    sums[c] *= before;
                    for (int j = 0; j < count; j++)
                    {
                        int pair = BitConverter.SingleToInt32Bits(head.Values[((start + j) / 2 * (long)head.ValueStride) + c]);
                        sums[c] += (double)weights[j] * ((start + j) % 2 == 0 ? (short)pair : pair >> 16);
                    }
                }
            }

            for (int c = 0; c < moreSums.Length; c++)
            {
                moreOutput.Row(row)[c] = (float)(moreSums[c] / sum);
            }

            Span<float> result = output.Row(row);
            for (int c = 0; c < sums.Length; c++)
            {
                result[c] = (float)(head.Middle[c] + (sums[c] / sum * head.Unit[c]));
            }

            Span<float> pairOf = statistics.Row(i);
            (pairOf[0], pairOf[1]) = ((float)(rounded / sum), factor);
        }
    }

    private static float UnitOf(ReadOnlySpan<float> row, ReadOnlySpan<float> shift)
    {
        double square = 0;
        float largest = 0;
        for (int c = 0; c < row.Length; c++)
        {
            float x = row[c] - (shift.IsEmpty ? 0 : shift[c]);
            square += (double)x * x;
            largest = Math.Max(largest, Math.Abs(x));
        }

        return QuantizedHead.UnitOf((float)Math.Sqrt(square), largest);
    }

    private static float Join(float low, float high) =>
        BitConverter.Int32BitsToSingle(((int)MathF.Round(low) & 0xffff) | ((int)MathF.Round(high) << 16));

    private static int Product(int[] query, QuantizedHead head, int key)
    {
        float* pairs = head.Keys + ((long)key * head.KeyStride);
        int sum = 0;
        for (int c = 0; c < head.KeyStride; c++)
        {
            int pair = BitConverter.SingleToInt32Bits(pairs[c]), other = c + head.KeyStride;
            sum += query[c] * (short)pair;
            sum += other < query.Length ? query[other] * (pair >> 16) : 0;
        }

        return sum;
    }
}

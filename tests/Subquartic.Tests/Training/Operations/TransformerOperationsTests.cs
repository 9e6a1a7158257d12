using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Tests.Training.Operations;

public class TransformerOperationsTests
{
    private const int Images = 2;
    private const int Rows = 3;
    private const int Width = 5;

    [Fact]
    public void Silu_and_gelu()
    {
        GradientCheck.Run(
            [GradientCheck.Uniform(1, 35, 4)],
            o => [.. o[0].Select(x => x / (1 + Math.Exp(-x)))],
            (tape, o) => Unary(tape, GradientCheck.Leaf(tape, o[0], 7, 5), x => tape.Silu(x)));
        GradientCheck.Run(
            [GradientCheck.Uniform(2, 35, 4)],
            o => [.. o[0].Select(x => x / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))))],
            (tape, o) => Unary(tape, GradientCheck.Leaf(tape, o[0], 7, 5), x => tape.Gelu(x)));
    }

    [Fact]
    public void Layer_norm_with_modulation() => GradientCheck.Run(
        [GradientCheck.Uniform(1, Images * Rows * Width), GradientCheck.Uniform(2, Images * 3 * Width)],
        o =>
        {
            var y = new double[Images * Rows * Width];
            for (int i = 0; i < Images * Rows; i++)
            {
                double[] row = o[0][(i * Width)..((i + 1) * Width)];
                double mean = row.Average();
                double deviation = Math.Sqrt(row.Select(v => (v - mean) * (v - mean)).Average() + 1e-3);
                for (int c = 0; c < Width; c++)
                {
                    double[] m = o[1];
                    int b = i / Rows * 3 * Width;
                    y[i * Width + c] = (row[c] - mean) / deviation * (1 + m[b + 2 * Width + c]) + m[b + c];
                }
            }

            return y;
        },
        (tape, o) =>
        {
            Variable x = GradientCheck.Leaf(tape, o[0], Images * Rows, Width);
            Variable modulation = GradientCheck.Leaf(tape, o[1], Images, 3 * Width);
            return (tape.LayerNormModulate(x, modulation, scaleChunk: 2, shiftChunk: 0, 1e-3f), i => (i == 0 ? x : modulation).Gradient.Span().ToArray());
        });

    [Fact]
    public void Gated_residual_and_row_offsets() => GradientCheck.Run(
        [
            GradientCheck.Uniform(1, Images * Rows * Width), GradientCheck.Uniform(2, Images * Rows * Width),
            GradientCheck.Uniform(3, Images * 2 * Width), GradientCheck.Uniform(4, 2 * Width),
        ],
        o => [.. Enumerable.Range(0, Images * Rows * Width).Select(n =>
            o[0][n] + (o[2][n / Width / Rows * 2 * Width + Width + n % Width] + o[3][Width + n % Width]) * o[1][n])],
        (tape, o) =>
        {
            Variable x = GradientCheck.Leaf(tape, o[0], Images * Rows, Width);
            Variable branch = GradientCheck.Leaf(tape, o[1], Images * Rows, Width);
            Variable shared = GradientCheck.Leaf(tape, o[2], Images, 2 * Width);
            Parameter offset = GradientCheck.Parameter(o[3], 1, 1, 2, Width);
            Variable y = tape.GatedResidual(x, branch, tape.AddToRows(shared, offset), gateChunk: 1);
            return (y, i => i == 3 ? offset.Gradient.Span().ToArray() : new[] { x, branch, shared }[i].Gradient.Span().ToArray());
        });

    [Fact]
    public void Rotation_of_queries_and_keys()
    {
        const int heads = 2, width = 8;
        var rotary = new RotaryEmbedding(ScaleSchedule.Square(1, 2), width / heads, 10);
        GradientCheck.Run(
            [GradientCheck.Uniform(1, Images * 5 * 3 * width)],
            o =>
            {
                double[] y = [.. o[0]];
                for (int n = 0; n < y.Length; n++)
                {
                    // Head width 4: coordinates 0 and 2 turn with the row, 1 and 3 with the column.
                    (int token, int column) = (n / (3 * width) % 5, n % (3 * width));
                    (int place, int p) = (n - (column % 4), column % 4);
                    double row = token == 0 ? 1 : ((token - 1) / 2) + 0.5, col = token == 0 ? 1 : ((token - 1) % 2) + 0.5;
                    double angle = p % 2 == 0 ? row : col;
                    (double a, double b) = (o[0][place + (p % 2)], o[0][place + (p % 2) + 2]);
                    y[n] = column >= 2 * width ? o[0][n] : p < 2 ? (a * Math.Cos(angle)) - (b * Math.Sin(angle)) : (a * Math.Sin(angle)) + (b * Math.Cos(angle));
                }

                return y;
            },
            (tape, o) =>
            {
                Variable qkv = GradientCheck.Leaf(tape, o[0], Images * 5, 3 * width);
                return (tape.Rotate(qkv, Images, heads, rotary), _ => qkv.Gradient.Span().ToArray());
            });
    }

    [Theory]
    [InlineData(true, 100)]
    [InlineData(true, 1.1)]
    [InlineData(false, 100)]
    public void Block_causal_attention(bool normalized, double limit)
    {
        const int heads = 2;
        const int width = 6;
        AttentionSegment[] segments = [new(0, 1, 1), new(1, 4, 5)];
        GradientCheck.Run(
            [GradientCheck.Uniform(1, Images * 5 * 3 * width), GradientCheck.Uniform(2, width), GradientCheck.Uniform(3, width), [0.3, 0.05]],
            o => Attend(o, heads, width, segments, normalized, limit),
            (tape, o) =>
            {
                Variable qkv = GradientCheck.Leaf(tape, o[0], Images * 5, 3 * width);
                Parameter queryBias = GradientCheck.Parameter(o[1], width);
                Parameter valueBias = GradientCheck.Parameter(o[2], width);
                Parameter factors = GradientCheck.Parameter(o[3], 1, heads, 1, 1);
                Variable prepared = tape.PrepareHeads(qkv, queryBias, valueBias, normalized ? factors : null, heads, limit);
                Variable y = tape.Attention(prepared, Images, heads, 0.7f, segments);
                return (y, i => i switch
                {
                    0 => qkv.Gradient.Span().ToArray(),
                    1 => queryBias.Gradient.Span().ToArray(),
                    2 => valueBias.Gradient.Span().ToArray(),
                    _ => factors.Gradient.Span().ToArray(),
                });
            },
            tolerance: 5e-5);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Token_sequence_and_class_embedding(bool someKnown)
    {
        ScaleSchedule scales = ScaleSchedule.Square(1, 2);
        int[] labels = [2, 2];
        bool[] known = someKnown ? [false, true, false, false, true, false, false, true, true, false] : [];
        GradientCheck.Run(
            [
                GradientCheck.Uniform(1, Images * 4 * Width), GradientCheck.Uniform(2, 3 * Width), GradientCheck.Uniform(3, Width),
                GradientCheck.Uniform(4, 5 * Width), GradientCheck.Uniform(5, 2 * Width),
            ],
            o => [.. Enumerable.Range(0, Images * 5 * Width).Select(n =>
            {
                int c = n % Width;
                int token = n / Width % 5;
                int image = n / Width / 5;
                return o[3][token * Width + c] + (token == 0
                    ? o[4][c] + o[1][labels[image] * Width + c] + o[2][c]
                    : o[4][Width + c] * (someKnown && known[n / Width] ? 2 : 1) + o[0][(image * 4 + token - 1) * Width + c]);
            })],
            (tape, o) =>
            {
                Variable words = GradientCheck.Leaf(tape, o[0], Images * 4, Width);
                Parameter[] tables =
                [
                    GradientCheck.Parameter(o[1], 3, Width), GradientCheck.Parameter(o[2], 1, 1, Width),
                    GradientCheck.Parameter(o[3], 1, 5, Width), GradientCheck.Parameter(o[4], 2, Width),
                ];
                Variable y = tape.TokenSequence(words, tape.LookUp(tables[0], labels), tables[1], tables[2], tables[3], scales, known);
                return (y, i => i == 0 ? words.Gradient.Span().ToArray() : tables[i - 1].Gradient.Span().ToArray());
            });
    }

    [Theory]
    [InlineData(0, 6)]
    [InlineData(0.1, 6)]
    [InlineData(0.1, -1)]
    [InlineData(0.1, -1, 0.5f, 3f, 2f, 1f)]
    public void Cross_entropy(double smoothing, int second, params float[] weights)
    {
        const int rows = 4;
        const int vocabulary = 7;
        int[] targets = [0, second, 3, 3], counted = [.. Enumerable.Range(0, rows).Where(i => targets[i] >= 0)];
        double[] logits = [.. GradientCheck.Uniform(1, rows * vocabulary, 3).Select(x => (double)(float)x)];
        double Weight(int i) => weights.Length == 0 ? 1 : weights[i];
        double Loss(double[] x) => counted.Sum(i => Weight(i) * RowLoss(x, i)) / counted.Sum(Weight);
        double RowLoss(double[] x, int i)
        {
            double[] row = x[(i * vocabulary)..((i + 1) * vocabulary)];
            double logSum = Math.Log(row.Sum(Math.Exp));
            return (1 - smoothing) * (logSum - row[targets[i]]) + smoothing * (logSum - row.Average());
        }
        foreach (string name in KernelSet.Available)
        {
            using var tape = new Tape(KernelSet.Create(name, 2));
            using var buffer = Subquartic.Numerics.Tensors.FloatBuffer.Of([.. logits.Select(x => (float)x)]);
            Variable leaf = GradientCheck.Leaf(tape, buffer, rows, vocabulary);
            var losses = new float[rows];
            var hits = new bool[rows];
            tape.CrossEntropy(leaf, targets, smoothing, losses, hits, weights);
            Assert.All(Enumerable.Range(0, rows), i => Assert.Equal(targets[i] < 0 ? 0 : RowLoss(logits, i), losses[i], 1e-5));
            for (int i = 0; i < logits.Length; i++)
            {
                double[] Moved(double h) => [.. logits.Select((x, n) => n == i ? x + h : x)];
                Assert.Equal((Loss(Moved(1e-4)) - Loss(Moved(-1e-4))) / 2e-4, leaf.Gradient.Span()[i], 1e-6);
            }

            for (int i = 0; i < rows; i++)
            {
                double[] row = logits[(i * vocabulary)..((i + 1) * vocabulary)];
                Assert.Equal(Array.IndexOf(row, row.Max()) == targets[i], hits[i]);
            }

            Assert.Throws<ArgumentException>(() => tape.CrossEntropy(leaf, new[] { 0, -2, 3, 3 }, smoothing, losses, hits));
        }
    }

    private static (Variable Value, Func<int, float[]?> Gradient) Unary(Tape tape, Variable x, Func<Variable, Variable> operation)
    {
        Variable y = operation(x);
        return (y, _ => x.Gradient.Span().ToArray());
    }

    private static double[] Attend(double[][] o, int heads, int width, AttentionSegment[] segments, bool normalized, double limit)
    {
        int headWidth = width / heads;
        var y = new double[Images * 5 * width];
        for (int b = 0; b < Images; b++)
        {
            for (int h = 0; h < heads; h++)
            {
                double[] Row(int third, int token)
                {
                    int start = (b * 5 + token) * 3 * width + third * width + h * headWidth;
                    double[] row = o[0][start..(start + headWidth)];
                    if (third != 1)
                    {
                        row = [.. row.Select((x, c) => x + o[third == 0 ? 1 : 2][h * headWidth + c])];
                    }

                    double factor = third == 0 ? Math.Exp(Math.Min(o[3][h], Math.Log(limit))) : 1;
                    double length = Math.Sqrt(row.Sum(x => x * x));
                    return third == 2 || !normalized ? row : [.. row.Select(x => x * factor / length)];
                }

                foreach (AttentionSegment s in segments)
                {
                    for (int i = s.QueryStart; i < s.QueryStart + s.Queries; i++)
                    {
                        double[] weights = [.. Enumerable.Range(0, s.Keys).Select(j => Math.Exp(0.7f * Row(0, i).Zip(Row(1, j), (q, k) => q * k).Sum()))];
                        for (int c = 0; c < headWidth; c++)
                        {
                            y[(b * 5 + i) * width + h * headWidth + c] = Enumerable.Range(0, s.Keys).Sum(j => weights[j] * Row(2, j)[c]) / weights.Sum();
                        }
                    }
                }
            }
        }

        return y;
    }
}

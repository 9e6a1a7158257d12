using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Reports.Analysis;

/// <summary>Measures one head at one scale, call after call. Scores are looked at block by block, so memory grows with the tokens and not
/// with their pairs.</summary>
internal sealed class HeadMeter
{
    private const int KeyBlock = 512, QueryBlock = 64;

    private double _entropy;
    private double _rank;
    private long _rows;
    private long _calls;

    /// <summary>L of a call.</summary>
    public int Queries { get; private set; }

    /// <summary>S of a call.</summary>
    public int Keys { get; private set; }

    /// <summary>d.</summary>
    public int Width { get; private set; }

    /// <summary>d_v.</summary>
    public int ValueWidth { get; private set; }

    /// <summary>Factor on q.k.</summary>
    public double Scale { get; private set; }

    /// <summary>max |Q|, without the factor.</summary>
    public double LargestQuery { get; private set; }

    /// <summary>max |K|.</summary>
    public double LargestKey { get; private set; }

    /// <summary>max |V|.</summary>
    public double LargestValue { get; private set; }

    /// <summary>max |score|.</summary>
    public double Score { get; private set; }

    /// <summary>The same once the keys are moved by the middle of their range.</summary>
    public double KeyCentredScore { get; private set; }

    /// <summary>The same once the queries are moved by their mean too.</summary>
    public double CentredScore { get; private set; }

    /// <summary>Largest half of a row's own range of scores; no shift of the keys changes it.</summary>
    public double RowHalfRange { get; private set; }

    /// <summary>What can be proved of <see cref="CentredScore"/> without looking at pairs: over the rows, the smaller of
    /// sum_l |q_l| max|k_l| and |q| max|k|.</summary>
    public double CertifiedHalfRange { get; private set; }

    /// <summary>Mean over the rows of the entropy of the weights, as a share of that of equal weights; 1 for a single key.</summary>
    public double Entropy => _entropy / _rows;

    /// <summary>Mean over the calls of (sum lambda)^2 / sum lambda^2, lambda the eigenvalues of the keys' covariance; 0 where all agree.</summary>
    public double KeyRank => _rank / _calls;

    /// <summary>Measures a call.</summary>
    /// <param name="queries">Q (L, c).</param>
    /// <param name="keys">K (S, c).</param>
    /// <param name="values">V (S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="unit">Entries are counted as Q u b and K u / b: u brings them into the paper's form, b makes both sides alike.</param>
    /// <param name="balance">b.</param>
    /// <param name="kernels">Products and powers.</param>
    /// <param name="entries">Takes the entries of Q and K.</param>
    /// <param name="scores">Takes the scores after both centrings.</param>
    /// <exception cref="ArithmeticException">A number is not finite.</exception>
    public void Measure(
        Matrix queries, Matrix keys, Matrix values, float scale, double unit, double balance, KernelSet kernels, Histogram entries, Histogram scores)
    {
        (Queries, Keys, Width, ValueWidth, Scale) = (queries.Rows, keys.Rows, keys.Columns, values.Columns, scale);
        double q = Largest(queries), k = Largest(keys);
        RequireFinite(q + k + Largest(values));
        LargestQuery = Math.Max(LargestQuery, q);
        LargestKey = Math.Max(LargestKey, k);
        LargestValue = Math.Max(LargestValue, Largest(values));
        Count(queries, unit * balance, q, entries);
        Count(keys, unit / balance, k, entries);

        var centres = new Centres(queries, keys, scale);
        CertifiedHalfRange = Math.Max(CertifiedHalfRange, centres.HalfRange);
        MeasureScores(queries, keys, scale, centres, kernels, scores);
        _rank += EffectiveRank(keys, kernels);
        _rows += queries.Rows;
        _calls++;
    }

    /// <summary>(tr C)^2 / tr C^2 of the covariance C of the rows: the participation ratio of its eigenvalues, found without them.</summary>
    internal static double EffectiveRank(Matrix keys, KernelSet kernels)
    {
        int rows = keys.Rows, columns = keys.Columns, side = Math.Min(rows, columns);
        using Scratch scratch = Scratch.Rent(((long)rows * columns) + ((long)side * side));
        Matrix centred = scratch.Buffer.Matrix(rows, columns);
        Matrix gram = scratch.Buffer.Matrix(side, side, (long)rows * columns);
        double[] mean = new double[columns];
        for (int j = 0; j < rows; j++)
        {
            ReadOnlySpan<float> row = keys.Row(j);
            for (int l = 0; l < columns; l++)
            {
                mean[l] += row[l] / (double)rows;
            }
        }

        for (int j = 0; j < rows; j++)
        {
            ReadOnlySpan<float> row = keys.Row(j);
            Span<float> target = centred.Row(j);
            for (int l = 0; l < columns; l++)
            {
                target[l] = (float)(row[l] - mean[l]);
            }
        }

        // K^T K and K K^T have the same eigenvalues but for zeros; the smaller one is formed.
        bool tall = rows > columns;
        using (PackedMatrix packed = kernels.Pack(centred, transposed: tall))
        {
            kernels.Gemm(centred, packed, gram, new GemmOptions { TransposeA = tall });
        }

        double trace = 0, squares = 0;
        for (int i = 0; i < side; i++)
        {
            trace += gram.Row(i)[i];
            squares += TensorPrimitives.Dot<float>(gram.Row(i), gram.Row(i));
        }

        return trace > 0 && squares > 0 ? trace * trace / squares : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MeasureScores(Matrix queries, Matrix keys, float scale, Centres centres, KernelSet kernels, Histogram scores)
    {
        var rows = new RowState[queries.Rows];
        Array.Fill(rows, new RowState { Least = double.PositiveInfinity, Largest = double.NegativeInfinity });
        int keyBlock = Math.Min(KeyBlock, keys.Rows);
        using Scratch scratch = Scratch.Rent((long)(QueryBlock + 1) * keyBlock);
        for (int start = 0; start < keys.Rows; start += keyBlock)
        {
            int count = Math.Min(keyBlock, keys.Rows - start);
            Span<float> powers = scratch.Buffer.Span((long)QueryBlock * keyBlock, count);
            using PackedMatrix packed = kernels.Pack(keys.SliceRows(start, count));
            for (int first = 0; first < queries.Rows; first += QueryBlock)
            {
                int tall = Math.Min(QueryBlock, queries.Rows - first);
                Matrix block = scratch.Buffer.Matrix(tall, count);
                kernels.Gemm(queries.SliceRows(first, tall), packed, block);
                for (int i = 0; i < tall; i++)
                {
                    Span<float> row = block.Row(i);
                    TensorPrimitives.Multiply(row, scale, row);
                    AddCentred(row, centres.QueryOffsets[first + i], centres.KeyOffsets.AsSpan(start, count), scores);
                    rows[first + i].Add(row, powers, kernels);
                }
            }
        }

        double equal = Math.Log(keys.Rows);
        foreach (RowState row in rows)
        {
            Score = Math.Max(Score, Math.Max(Math.Abs(row.Least), Math.Abs(row.Largest)));
            RowHalfRange = Math.Max(RowHalfRange, (row.Largest - row.Least) / 2);
            _entropy += keys.Rows == 1 ? 1 : row.Entropy / equal;
        }
    }

    /// <summary>s_ij - a_i for the moved keys, and less b_j for the moved queries.</summary>
    private void AddCentred(ReadOnlySpan<float> row, double queryOffset, ReadOnlySpan<double> keyOffsets, Histogram scores)
    {
        double keysMoved = 0, bothMoved = 0;
        for (int j = 0; j < row.Length; j++)
        {
            double moved = row[j] - queryOffset;
            keysMoved = Math.Max(keysMoved, Math.Abs(moved));
            bothMoved = Math.Max(bothMoved, Math.Abs(moved - keyOffsets[j]));
        }

        RequireFinite(bothMoved);
        KeyCentredScore = Math.Max(KeyCentredScore, keysMoved);
        CentredScore = Math.Max(CentredScore, bothMoved);
        scores.Reserve(bothMoved);
        for (int j = 0; j < row.Length; j++)
        {
            scores.Add(row[j] - queryOffset - keyOffsets[j]);
        }
    }

    private static void RequireFinite(double value)
    {
        if (!double.IsFinite(value))
        {
            throw new ArithmeticException("A query, key, value or score is infinite or not a number; the model's weights are damaged.");
        }
    }

    private static double Largest(Matrix x)
    {
        float largest = 0;
        for (int i = 0; i < x.Rows; i++)
        {
            largest = Math.Max(largest, Math.Abs(TensorPrimitives.MaxMagnitude<float>(x.Row(i))));
        }

        return largest;
    }

    private static void Count(Matrix x, double factor, double largest, Histogram entries)
    {
        entries.Reserve(factor * largest);
        for (int i = 0; i < x.Rows; i++)
        {
            foreach (float value in x.Row(i))
            {
                entries.Add(factor * value);
            }
        }
    }

    /// <summary>What is known of a row of scores so far: extremes, and sum e^s and sum e^s s less their common factor.</summary>
    private struct RowState
    {
        public double Least;
        public double Largest;
        private double _weights;
        private double _weightedScores;

        /// <summary>-sum p log p.</summary>
        public readonly double Entropy => Math.Max(0, Math.Log(_weights) + Largest - (_weightedScores / _weights));

        public void Add(ReadOnlySpan<float> scores, Span<float> powers, KernelSet kernels)
        {
            Least = Math.Min(Least, TensorPrimitives.Min(scores));
            double largest = Math.Max(Largest, TensorPrimitives.Max(scores));
            double less = Math.Exp(Largest - largest); // 0 at first
            TensorPrimitives.Subtract(scores, (float)largest, powers);
            kernels.Exp(powers, powers);
            _weights = (_weights * less) + TensorPrimitives.Sum<float>(powers);
            _weightedScores = (_weightedScores * less) + TensorPrimitives.Dot(scores, powers);
            Largest = largest;
        }
    }
}

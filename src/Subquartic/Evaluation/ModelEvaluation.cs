using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Data;

namespace Subquartic.Evaluation;

/// <summary>How good drawn pictures are, by a judge that did not train the model.</summary>
/// <param name="Pictures">Pictures drawn.</param>
/// <param name="Accuracy">Share of them whose class the judge names.</param>
/// <param name="AccuracyPerClass">The same, class by class.</param>
/// <param name="RealAccuracy">Share of the real pictures whose class the judge names.</param>
/// <param name="Frechet">Fréchet distance between drawn and real pictures.</param>
/// <param name="FrechetOfReal">Fréchet distance between two samples of real pictures of the same size: what chance alone gives.</param>
public sealed record DrawingQuality(
    int Pictures, double Accuracy, IReadOnlyList<double> AccuracyPerClass, double RealAccuracy, double Frechet, double FrechetOfReal)
{
    /// <summary>Distance to real pictures as a multiple of their distance from each other.</summary>
    public double FrechetRatio => Frechet / FrechetOfReal;
}

/// <summary>How well a VQ-VAE keeps pictures.</summary>
/// <param name="Pictures">Pictures encoded and decoded.</param>
/// <param name="Psnr">Peak signal-to-noise ratio of the mean squared error over all of them, in dB.</param>
/// <param name="MeanPsnr">Mean of the pictures' own ratios, in dB.</param>
public sealed record ReconstructionQuality(int Pictures, double Psnr, double MeanPsnr);

/// <summary>Judges a model against real pictures.</summary>
public static class ModelEvaluation
{
    /// <summary>Judges drawn pictures: class accuracy and Fréchet distance.</summary>
    /// <param name="judge">The judge.</param>
    /// <param name="labels">The class each picture was drawn for.</param>
    /// <param name="drawn">Writes drawn picture i.</param>
    /// <param name="real">Real pictures; the even ones are one sample, the odd ones another, each as large as the drawn one or as the data allow.</param>
    /// <param name="progress">Told the share that is done, 0 to 1; may be null.</param>
    /// <param name="cancellation">Takes effect between batches.</param>
    /// <returns>The quality.</returns>
    /// <exception cref="ArgumentException">The real pictures do not fit the judge, or are fewer than four.</exception>
    public static DrawingQuality Judge(
        ImageJudge judge, IReadOnlyList<int> labels, Action<int, Span<byte>> drawn, IImageDataset real, Action<double>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(judge);
        ArgumentNullException.ThrowIfNull(labels);
        ArgumentNullException.ThrowIfNull(real);
        if ((real.Height, real.Width) != (judge.Height, judge.Width) || real.Count < 4)
        {
            throw new ArgumentException($"{real.Count} pictures of {real.Height} x {real.Width}; the judge knows {judge.Height} x {judge.Width}.", nameof(real));
        }

        int sample = (int)Math.Min(labels.Count, real.Count / 2);
        int total = labels.Count + 2 * sample;
        (FloatBuffer drawnFeatures, int[] seen) = judge.Look(labels.Count, drawn, done => progress?.Invoke((double)done / total), cancellation);
        using FloatBuffer ownDrawn = drawnFeatures;
        (FloatBuffer firstFeatures, int rightFirst) = LookAtReal(0, labels.Count);
        using FloatBuffer ownFirst = firstFeatures;
        (FloatBuffer secondFeatures, int rightSecond) = LookAtReal(1, labels.Count + sample);
        using FloatBuffer ownSecond = secondFeatures;
        const int width = Training.ClassifierNetwork.FeatureWidth;
        Matrix first = firstFeatures.Matrix(sample, width);
        return new DrawingQuality(
            labels.Count,
            Enumerable.Range(0, labels.Count).Count(i => labels[i] == seen[i]) / (double)labels.Count,
            [.. Enumerable.Range(0, judge.Classes.Count).Select(c => labels.Index().Where(x => x.Item == c).Select(x => seen[x.Index] == c ? 1.0 : 0).DefaultIfEmpty(double.NaN).Average())],
            (rightFirst + rightSecond) / (2.0 * sample),
            FrechetDistance.Between(drawnFeatures.Matrix(labels.Count, width), first),
            FrechetDistance.Between(secondFeatures.Matrix(sample, width), first));

        (FloatBuffer Features, int Right) LookAtReal(int parity, int before)
        {
            int[] classes = new int[sample];

            // Whole rounds through the classes go to one side or the other, so that both have the same share of each class.
            int round = real is IconDataset ? real.Classes.Count : 1;
            (FloatBuffer features, int[] found) = judge.Look(
                sample, (i, bytes) => classes[i] = real.Read(((long)(i / round) * 2 + parity) * round + i % round, bytes),
                done => progress?.Invoke((double)(before + done) / total), cancellation);
            return (features, classes.Zip(found, (a, b) => a == b ? 1 : 0).Sum());
        }
    }

    /// <summary>Encodes and decodes real pictures.</summary>
    /// <param name="autoencoder">The VQ-VAE, with its encoder.</param>
    /// <param name="attention">The attention strategy.</param>
    /// <param name="real">Pictures of the model's size.</param>
    /// <param name="count">How many of them, from the first on.</param>
    /// <param name="progress">Told the share that is done, 0 to 1; may be null.</param>
    /// <param name="cancellation">Takes effect within a layer.</param>
    /// <returns>The quality.</returns>
    public static ReconstructionQuality Reconstruct(
        VqVae autoencoder, IAttention attention, IImageDataset real, int count, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(autoencoder);
        ArgumentNullException.ThrowIfNull(real);
        count = (int)Math.Min(count, real.Count);
        ScaleSchedule scales = autoencoder.Quantizer.Scales;
        int channels = autoencoder.Config.CodeChannels;
        using var pixels = new FloatBuffer((long)real.Height * real.Width * 3);
        using var features = new FloatBuffer(2L * scales.Last.Tokens * channels);
        FeatureMap image = pixels.FeatureMap(1, real.Height, real.Width, 3);
        FeatureMap f = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, channels);
        FeatureMap fHat = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, channels, f.Length);
        int[] tokens = new int[scales.Tokens];
        var original = new RgbImage(real.Height, real.Width);
        double allSquares = 0, sum = 0;
        for (int i = 0; i < count; i++)
        {
            real.Read(i, original.Bytes);
            original.CopyTo(image);
            autoencoder.Encode(image, f, attention, cancellation);
            autoencoder.Quantizer.Quantize(f, tokens, fHat);
            autoencoder.Decode(fHat, image, attention, cancellation);
            Span<byte> result = RgbImage.From(image).Bytes;
            double squares = 0;
            for (int k = 0; k < result.Length; k++)
            {
                double difference = result[k] - original.Bytes[k];
                squares += difference * difference;
            }

            squares /= result.Length;
            allSquares += squares;
            sum += Decibels(squares);
            progress?.Invoke((i + 1.0) / count);
        }

        return new ReconstructionQuality(count, Decibels(allSquares / count), sum / count);

        static double Decibels(double meanSquare) => 10 * Math.Log10(255 * 255 / Math.Max(meanSquare, 1e-9));
    }
}
